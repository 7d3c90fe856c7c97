//! The rows of the table of `ls`.

use std::collections::BTreeSet;

use advisory_core::monitor::LockStatus;

use super::snapshot::NamedLock;
use crate::duration::age;
use crate::group;
use crate::lock_status::{session_id, status};

/// A lock, or many locks that a session holds and that nobody waits for.
pub(super) struct Row<'s> {
    /// At least one.
    locks: Vec<&'s NamedLock>,
}

/// The rows of each database in the order of the locks, and then its rows of many locks.
pub(super) fn of_locks(locks: &[NamedLock], one_by_one: bool) -> Vec<Row<'_>> {
    let groups = group::group(locks, |row| {
        // The lock of a waiter is awaited, too.
        let is_alone = one_by_one || row.is_awaited;
        (!is_alone).then(|| session_id(&row.lock))
    });
    let mut rows: Vec<_> = groups.into_iter().map(|locks| Row { locks }).collect();
    rows.sort_by(|a, b| a.order().cmp(&b.order()));
    rows
}

impl<'s> Row<'s> {
    /// The lock, or the first one. Those of one session differ only in key, name and mode.
    pub(super) fn lock(&self) -> &'s LockStatus {
        &self.locks[0].lock
    }

    pub(super) fn name(&self) -> Option<String> {
        let names = self.locks.iter().filter_map(|row| row.name.as_ref());
        let mut names = names.map(|name| name.text.clone()).peekable();
        names.peek()?;
        Some(group::first_few(names, self.locks.len()))
    }

    pub(super) fn waits(&self) -> bool {
        self.locks[0].waits()
    }

    /// Whether the lock is held or waited for, and for how long.
    pub(super) fn status(&self) -> String {
        let row = self.locks[0];
        match row.lock.state_age.map(age) {
            Some(waited) if row.is_first_in_queue() => format!("waits {waited}"),
            None if row.is_first_in_queue() => "waits".to_owned(),
            _ => status(&row.lock),
        }
    }

    /// `42`, `2000 locks`
    pub(super) fn key(&self) -> String {
        match self.locks.len() {
            1 => self.lock().key.to_string(),
            count => format!("{count} locks"),
        }
    }

    pub(super) fn mode(&self) -> String {
        let modes: BTreeSet<_> = self.locks.iter().map(|row| row.lock.mode).collect();
        let modes: Vec<_> = modes.iter().map(ToString::to_string).collect();
        modes.join(", ")
    }

    fn order(&self) -> impl Ord + use<'s> {
        let lock = self.lock();
        let many = (self.locks.len() > 1).then(|| session_id(lock));
        (&lock.database, many)
    }
}
