//! Locks that are shown together, because one session can hold thousands.

use std::collections::HashMap;
use std::hash::Hash;

/// More locks than this are shown together.
pub(crate) const MANY: usize = 10;

/// How many of many locks are named.
const NAMED: usize = 3;

/// Groups the items of each kind if they are many. Each other item, and each without a kind, is a
/// group of its own. The groups are in the order of their first items.
pub(crate) fn group<T: Copy, K: Eq + Hash>(
    items: impl IntoIterator<Item = T>,
    kind: impl Fn(T) -> Option<K>,
) -> Vec<Vec<T>> {
    let items: Vec<_> = items.into_iter().map(|item| (item, kind(item))).collect();
    let mut counts = HashMap::new();
    for kind in items.iter().filter_map(|(_, kind)| kind.as_ref()) {
        *counts.entry(kind).or_insert(0) += 1;
    }
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut places = HashMap::new();
    for (item, kind) in &items {
        let kind = kind.as_ref().filter(|kind| counts[kind] > MANY);
        let next = groups.len();
        let place = kind.map_or(next, |kind| *places.entry(kind).or_insert(next));
        if place == next {
            groups.push(Vec::new());
        }
        groups[place].push(*item);
    }
    groups
}

/// `42, 43`; if they are many, their number and the first ones: `2000 locks (1, 2, 3, …)`.
pub(crate) fn list(locks: impl ExactSizeIterator<Item = String>) -> String {
    match locks.len() {
        count if count > MANY => format!("{count} locks ({})", first_few(locks, count)),
        _ => locks.collect::<Vec<_>>().join(", "),
    }
}

/// The first names of `count` locks, some of which may have no name: `1, 2, 3, …`.
pub(crate) fn first_few(names: impl Iterator<Item = String>, count: usize) -> String {
    let mut few: Vec<_> = names.take(NAMED).collect();
    if few.len() < count {
        few.push("…".to_owned());
    }
    few.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_of_a_kind_are_together_where_the_first_is() {
        let items: Vec<_> = (0..40).collect();
        let kind = |item| match item {
            5 => None,
            _ if item % 3 == 0 => Some("many"),
            _ if item % 4 == 0 => Some("few"),
            _ => None,
        };
        let groups = group(items, kind);
        assert_eq!(groups.len(), 40 - 14 + 1);
        assert_eq!(groups[0], (0..40).step_by(3).collect::<Vec<_>>());
        let others: Vec<_> = groups[1..].concat();
        assert!(others.is_sorted() && groups[1..].iter().all(|group| group.len() == 1));
    }

    #[test]
    fn many_locks_are_their_number_and_the_first_ones() {
        let numbers = |count: usize| (1..=count).map(|number| number.to_string());
        assert_eq!(list(numbers(2).collect::<Vec<_>>().into_iter()), "1, 2");
        let many = list(numbers(2_000).collect::<Vec<_>>().into_iter());
        assert_eq!(many, "2000 locks (1, 2, 3, …)");
        assert_eq!(first_few(numbers(3), 3), "1, 2, 3");
        assert_eq!(first_few(numbers(2), 3), "1, 2, …");
    }
}
