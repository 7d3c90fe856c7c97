//! A lock as a sequential object: what it allows if everything happens one after the other.

use std::collections::BTreeSet;

use crate::claim::{Operation, Step};
use crate::event::Mode;

/// Who holds a lock, and the last fencing token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lock {
    /// In ascending order.
    holders: Vec<Holder>,
    last_token: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Holder {
    call: usize,
    mode: Mode,
    permits: u32,
}

impl Lock {
    /// A lock that nobody has held yet.
    pub(crate) fn free() -> Self {
        Self {
            holders: Vec::new(),
            last_token: i64::MIN,
        }
    }

    /// The lock after an operation; `None` if the lock does not allow it.
    pub(crate) fn after(&self, operation: &Operation) -> Option<Self> {
        let mut next = self.clone();
        match operation.step {
            Step::Acquire {
                mode,
                permits,
                token,
            } => {
                let holder = Holder {
                    call: operation.call,
                    mode,
                    permits,
                };
                let place = next.holders.binary_search(&holder).err()?;
                next.holders.insert(place, holder);
                if !next.is_allowed() {
                    return None;
                }
                if let Some(token) = token {
                    next.draw(token)?;
                }
            }
            Step::Draw(token) => {
                self.place_of(operation.call)?;
                next.draw(token)?;
            }
            Step::Release => {
                self.place_of(operation.call)?;
            }
        }
        if operation.ends_lock() {
            next.holders.retain(|holder| holder.call != operation.call);
        }
        Some(next)
    }

    /// The lock after operations that it allows in some order.
    pub(crate) fn after_all<'o>(mut self, operations: impl Iterator<Item = &'o Operation>) -> Self {
        let mut ended = BTreeSet::new();
        for operation in operations {
            let (call, token) = (operation.call, operation.step.token());
            self.last_token = token.map_or(self.last_token, |token| token.max(self.last_token));
            if let Step::Acquire { mode, permits, .. } = operation.step {
                self.holders.push(Holder {
                    call,
                    mode,
                    permits,
                });
            }
            if operation.ends_lock() {
                ended.insert(call);
            }
        }
        self.holders.retain(|holder| !ended.contains(&holder.call));
        self.holders.sort_unstable();
        self
    }

    /// Each token is greater than all before.
    fn draw(&mut self, token: i64) -> Option<()> {
        let is_greater = token > self.last_token;
        self.last_token = token;
        is_greater.then_some(())
    }

    fn place_of(&self, call: usize) -> Option<usize> {
        self.holders.iter().position(|holder| holder.call == call)
    }

    /// Whether these may hold the lock together.
    fn is_allowed(&self) -> bool {
        let all = &self.holders;
        let is_shared = all.iter().all(|holder| holder.mode == Mode::Shared);
        // A holder with `n` permits has one of the first `n` slots, so at most `n` have at most as
        // many permits as it.
        let has_slots = all.iter().all(|holder| {
            let within = all.iter().filter(|other| other.permits <= holder.permits);
            holder.mode == Mode::Exclusive && within.count() <= holder.permits as usize
        });
        is_shared || has_slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acquire(call: usize, mode: Mode, permits: u32) -> Operation {
        let step = Step::Acquire {
            mode,
            permits,
            token: None,
        };
        operation(call, step)
    }

    fn operation(call: usize, step: Step) -> Operation {
        Operation {
            call,
            step,
            is_last: false,
            invoked: 0,
            returned: 0,
        }
    }

    fn is_allowed(operations: &[Operation]) -> bool {
        let free = Some(Lock::free());
        let end = operations
            .iter()
            .fold(free, |lock, operation| lock?.after(operation));
        end.is_some()
    }

    #[test]
    fn each_holder_has_one_of_the_slots_that_it_knows() {
        let holders = |permits: &[u32]| {
            let holders = permits.iter().enumerate();
            let all = holders.map(|(call, permits)| acquire(call, Mode::Exclusive, *permits));
            is_allowed(&all.collect::<Vec<_>>())
        };
        assert!(holders(&[3, 3, 3]));
        assert!(!holders(&[3, 3, 3, 3]));
        assert!(holders(&[5, 5, 3, 3, 3]));
        assert!(holders(&[3, 3, 5, 5, 5]));
        assert!(!holders(&[5, 3, 3, 3, 3]));
        assert!(!holders(&[5, 5, 5, 5, 5, 3]));
        assert!(!holders(&[1, 1]));
    }

    #[test]
    fn only_a_holder_draws_or_releases_and_only_once() {
        let first = acquire(1, Mode::Exclusive, 1);
        assert!(!is_allowed(&[operation(1, Step::Release)]));
        assert!(!is_allowed(&[first.clone(), operation(2, Step::Draw(1))]));
        let released = [first.clone(), operation(1, Step::Release)];
        assert!(!is_allowed(&[&released[..], &released[1..]].concat()));
        let drawn = operation(1, Step::Draw(1));
        assert!(!is_allowed(&[&released[..], &[drawn]].concat()));
    }
}
