//! Calls of PostgreSQL's lock functions, with keys as literals.

use std::fmt::{Display, Write as _};

use super::permits::Semaphore;
use crate::key::Key;
use crate::lock::{LockId, Mode};

/// Which of PostgreSQL's lock functions.
#[derive(Clone, Copy)]
pub(crate) enum Function {
    XactLock,
    TryXactLock,
    Lock,
    TryLock,
    Unlock,
}

impl Function {
    pub(super) fn name(self, mode: Mode) -> &'static str {
        match (self, mode) {
            (Self::XactLock, Mode::Exclusive) => "pg_catalog.pg_advisory_xact_lock",
            (Self::XactLock, Mode::Shared) => "pg_catalog.pg_advisory_xact_lock_shared",
            (Self::TryXactLock, Mode::Exclusive) => "pg_catalog.pg_try_advisory_xact_lock",
            (Self::TryXactLock, Mode::Shared) => "pg_catalog.pg_try_advisory_xact_lock_shared",
            (Self::Lock, Mode::Exclusive) => "pg_catalog.pg_advisory_lock",
            (Self::Lock, Mode::Shared) => "pg_catalog.pg_advisory_lock_shared",
            (Self::TryLock, Mode::Exclusive) => "pg_catalog.pg_try_advisory_lock",
            (Self::TryLock, Mode::Shared) => "pg_catalog.pg_try_advisory_lock_shared",
            (Self::Unlock, Mode::Exclusive) => "pg_catalog.pg_advisory_unlock",
            (Self::Unlock, Mode::Shared) => "pg_catalog.pg_advisory_unlock_shared",
        }
    }

    /// Whether it waits until the lock is granted.
    pub(crate) fn waits(self) -> bool {
        matches!(self, Self::XactLock | Self::Lock)
    }

    /// The call for a lock on one key; `None` if there are several keys, none, or several permits.
    pub(super) fn single_call(self, lock: &LockId) -> Option<String> {
        let [key] = lock.keys() else { return None };
        (lock.permits() == 1).then(|| self.call(*key, lock.mode()))
    }

    /// The call for one key.
    pub(super) fn call(self, key: Key, mode: Mode) -> String {
        let function = self.name(mode);
        // A quoted number takes the type of the parameter: one `bigint`, or two `int4`.
        match key {
            Key::BigInt(key) => format!("{function}('{key}')"),
            Key::IntPair(a, b) => format!("{function}('{a}','{b}')"),
        }
    }

    /// The calls for any number of keys, as expressions over rows: at most one for each key space,
    /// with the keys in order.
    pub(super) fn calls(self, lock: &LockId) -> impl Iterator<Item = Calls> + use<> {
        self.calls_of(lock.keys(), lock.mode())
    }

    /// The same for keys in any order, which is that of the rows of each key space.
    pub(super) fn calls_of(self, keys: &[Key], mode: Mode) -> impl Iterator<Item = Calls> + use<> {
        let function = self.name(mode);
        let spaces = [bigints(keys), int_pairs(keys)];
        spaces
            .into_iter()
            .flatten()
            .map(move |(columns, rows)| Calls {
                call: format!("{function}({columns})"),
                rows,
            })
    }

    /// Whether every call returned true; an expression, which stops at the first call that did not.
    /// For a lock with several permits: whether one call did, at which it stops.
    pub(super) fn all(self, lock: &LockId) -> String {
        if let Some(semaphore) = Semaphore::of(lock) {
            return semaphore.try_any(self);
        }
        self.single_call(lock).unwrap_or_else(|| {
            self.calls(lock)
                .fold(String::from("true"), |mut all, Calls { call, rows }| {
                    let _ = write!(all, " AND NOT EXISTS(SELECT FROM {rows} WHERE NOT {call})");
                    all
                })
        })
    }
}

/// An expression that makes a call for each row.
pub(super) struct Calls {
    pub(super) call: String,
    pub(super) rows: String,
}

fn bigints(keys: &[Key]) -> Option<(&'static str, String)> {
    let keys = bigint_array(keys)?;
    Some((
        "k",
        format!("pg_catalog.unnest({keys}::pg_catalog.int8[]) AS k"),
    ))
}

fn int_pairs(keys: &[Key]) -> Option<(&'static str, String)> {
    let (first, second) = int_pair_arrays(keys)?;
    let rows = format!(
        "ROWS FROM(pg_catalog.unnest({first}::pg_catalog.int4[]),pg_catalog.unnest({second}::pg_catalog.int4[])) AS k(a,b)"
    );
    Some(("k.a,k.b", rows))
}

fn bigint_array(keys: &[Key]) -> Option<String> {
    let keys: Vec<_> = keys
        .iter()
        .filter_map(|key| match key {
            Key::BigInt(key) => Some(key),
            Key::IntPair(..) => None,
        })
        .collect();
    (!keys.is_empty()).then(|| array_literal(&keys))
}

fn int_pair_arrays(keys: &[Key]) -> Option<(String, String)> {
    let (first, second): (Vec<i32>, Vec<i32>) = keys
        .iter()
        .filter_map(|key| match key {
            Key::BigInt(_) => None,
            Key::IntPair(a, b) => Some((*a, *b)),
        })
        .unzip();
    (!first.is_empty()).then(|| (array_literal(&first), array_literal(&second)))
}

/// The keys of a lock in settings of our own, where a statement whose text is constant reads them.
pub(super) struct KeySettings([(&'static str, String); 3]);

impl KeySettings {
    pub(super) fn of(lock: &LockId) -> Self {
        let none = || "'{}'".to_owned();
        let bigints = bigint_array(lock.keys()).unwrap_or_else(none);
        let pairs = int_pair_arrays(lock.keys());
        let (first, second) = pairs.unwrap_or_else(|| (none(), none()));
        Self([
            ("advisory.bigints", bigints),
            ("advisory.first", first),
            ("advisory.second", second),
        ])
    }

    /// Sets them until the transaction ends; a statement that returns no row.
    pub(super) fn set(&self) -> String {
        let set = self
            .0
            .each_ref()
            .map(|(name, value)| format!("pg_catalog.set_config('{name}',{value},true) IS NULL"));
        format!("SELECT WHERE {}", set.join(" OR "))
    }

    /// Whether all keys were granted; an expression, which stops at the first key that was not.
    pub(super) fn try_all(&self, mode: Mode) -> String {
        let function = Function::TryXactLock.name(mode);
        let [bigints, first, second] = self
            .0
            .each_ref()
            .map(|(name, _)| format!("pg_catalog.current_setting('{name}')"));
        format!(
            "NOT EXISTS(SELECT FROM pg_catalog.unnest({bigints}::pg_catalog.int8[]) AS k WHERE NOT {function}(k)) \
             AND NOT EXISTS(SELECT FROM ROWS FROM(pg_catalog.unnest({first}::pg_catalog.int4[]),\
             pg_catalog.unnest({second}::pg_catalog.int4[])) AS k(a,b) WHERE NOT {function}(k.a,k.b))"
        )
    }
}

/// A text literal that means the same whether `standard_conforming_strings` is on or off.
pub(super) fn text_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        return format!("E'{}'", quoted.replace('\\', "\\\\"));
    }
    format!("'{quoted}'")
}

/// An array literal: `'{1,2}'`.
pub(super) fn array_literal<T: Display>(items: &[T]) -> String {
    let mut text = String::from("'{");
    for (index, item) in items.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{item}");
    }
    text.push_str("}'");
    text
}
