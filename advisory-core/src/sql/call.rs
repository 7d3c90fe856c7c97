//! Calls of PostgreSQL's lock functions, with keys as literals.

use std::fmt::{Display, Write as _};

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
    fn name(self, mode: Mode) -> &'static str {
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

    /// The call for a lock on one key; `None` if there are several keys, or none.
    pub(super) fn single_call(self, lock: &LockId) -> Option<String> {
        let [key] = lock.keys() else { return None };
        let function = self.name(lock.mode());
        // A quoted number takes the type of the parameter: one `bigint`, or two `int4`.
        Some(match key {
            Key::BigInt(key) => format!("{function}('{key}')"),
            Key::IntPair(a, b) => format!("{function}('{a}','{b}')"),
        })
    }

    /// The calls for any number of keys, as expressions over rows: at most one for each key space,
    /// with the keys in order.
    pub(super) fn calls(self, lock: &LockId) -> impl Iterator<Item = Calls> {
        let function = self.name(lock.mode());
        let spaces = [bigints(lock.keys()), int_pairs(lock.keys())];
        spaces
            .into_iter()
            .flatten()
            .map(move |(columns, rows)| Calls {
                call: format!("{function}({columns})"),
                rows,
            })
    }

    /// Whether every call returned true; an expression, which stops at the first call that did not.
    pub(super) fn all(self, lock: &LockId) -> String {
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
    let keys: Vec<_> = keys
        .iter()
        .filter_map(|key| match key {
            Key::BigInt(key) => Some(key),
            Key::IntPair(..) => None,
        })
        .collect();
    let rows = format!(
        "pg_catalog.unnest({}::pg_catalog.int8[]) AS k",
        array_literal(&keys)
    );
    (!keys.is_empty()).then_some(("k", rows))
}

fn int_pairs(keys: &[Key]) -> Option<(&'static str, String)> {
    let (first, second): (Vec<i32>, Vec<i32>) = keys
        .iter()
        .filter_map(|key| match key {
            Key::BigInt(_) => None,
            Key::IntPair(a, b) => Some((*a, *b)),
        })
        .unzip();
    let rows = format!(
        "ROWS FROM(pg_catalog.unnest({}::pg_catalog.int4[]),pg_catalog.unnest({}::pg_catalog.int4[])) AS k(a,b)",
        array_literal(&first),
        array_literal(&second)
    );
    (!first.is_empty()).then_some(("k.a,k.b", rows))
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
