//! The messages of a list without locks: where they were looked for, and which other databases have
//! some.

use std::collections::{BTreeMap, BTreeSet};

use super::snapshot::{NamedLock, Scope};
use crate::output::printable;

/// At most so many other databases are named.
const NAMED: usize = 10;

/// `on this server`, or ``in database `app`; other databases have some: `shop` (3), `web` (1)``.
pub(super) fn place<'s>(
    database: &str,
    scope: &Scope,
    elsewhere: impl Iterator<Item = &'s NamedLock>,
) -> String {
    if scope.all_databases {
        return "on this server".to_owned();
    }
    let place = format!("in database `{}`", printable(database));
    let mut keys: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for row in elsewhere.filter(|row| row.lock.database != database) {
        keys.entry(&*row.lock.database)
            .or_default()
            .insert(row.lock.key);
    }
    let count = |(database, keys): (&&str, &BTreeSet<_>)| {
        format!("`{}` ({})", printable(database), keys.len())
    };
    let mut counts: Vec<_> = keys.iter().take(NAMED).map(count).collect();
    if keys.is_empty() {
        return place;
    }
    if keys.len() > NAMED {
        counts.push(format!("and {} more", keys.len() - NAMED));
    }
    let counts = counts.join(", ");
    format!("{place}; other databases have some, which `--all-databases` shows: {counts}")
}
