//! The verdict for each key.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::call::History;
use crate::claim::{Claims, Operation, claims};
use crate::narrow::narrowed;
use crate::search::is_linearizable;

/// What was found out about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyReport {
    /// The key.
    pub key: i64,
    /// The number of calls.
    pub calls: usize,
    /// The number of calls that were granted.
    pub granted: usize,
    /// The number of calls that were granted and prove nothing, because a fault concerned their
    /// session.
    pub unproven: usize,
    /// The number of grants, tokens and releases.
    pub operations: usize,
    /// Whether they have an order.
    pub verdict: Verdict,
}

/// Whether the operations of a key have an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They do.
    Accepted,
    /// They do not, and neither do those of these calls alone. The numbers are indices of
    /// [`History::calls`]. Without any one of these calls, the others have an order.
    Refused(Vec<usize>),
    /// The search took too many steps.
    Undecided,
}

/// Judges each key of a history.
pub fn check(history: &History) -> Vec<KeyReport> {
    let keys: Vec<_> = claims(history).into_iter().collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let next = || keys.get(next.fetch_add(1, Ordering::Relaxed));
        let claims = std::iter::from_fn(next);
        let reports = claims.map(|(key, claims)| report(*key, claims));
        reports.collect::<Vec<_>>()
    };
    let mut reports = thread::scope(|scope| {
        let count = thread::available_parallelism().map_or(1, NonZero::get);
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(|thread| match thread.join() {
            Ok(reports) => reports,
            Err(panic) => resume_unwind(panic),
        });
        ended.collect::<Vec<_>>().concat()
    });
    reports.sort_by_key(|report| report.key);
    reports
}

fn report(key: i64, claims: &Claims) -> KeyReport {
    let verdict = verdict(&claims.operations);
    KeyReport {
        key,
        calls: claims.calls,
        granted: claims.granted,
        unproven: claims.unproven,
        operations: claims.operations.len(),
        verdict,
    }
}

fn verdict(operations: &[Operation]) -> Verdict {
    let narrowed = narrowed(operations);
    if is_linearizable(&narrowed) == Some(true) {
        return Verdict::Accepted;
    }
    // Calls that have no order have none together with others, either.
    let few = smallest(&narrowed);
    if is_refused(operations, &few) {
        return Verdict::Refused(few);
    }
    match is_linearizable(operations) {
        Some(true) => Verdict::Accepted,
        Some(false) => Verdict::Refused(smallest(operations)),
        None => Verdict::Undecided,
    }
}

/// A set of calls whose operations have no order, and from which no call can be left out. Leaves
/// out halves, quarters and so on, as long as the rest has no order.
fn smallest(operations: &[Operation]) -> Vec<usize> {
    let calls: BTreeSet<_> = operations.iter().map(|operation| operation.call).collect();
    let mut calls: Vec<_> = calls.into_iter().collect();
    let mut size = calls.len().div_ceil(2);
    loop {
        let mut start = 0;
        while start < calls.len() {
            let end = calls.len().min(start + size);
            let rest = [&calls[..start], &calls[end..]].concat();
            if is_refused(operations, &rest) {
                calls = rest;
            } else {
                start = end;
            }
        }
        if size <= 1 {
            return calls;
        }
        size = size.div_ceil(2);
    }
}

fn is_refused(operations: &[Operation], calls: &[usize]) -> bool {
    let operations = operations.iter();
    let chosen = operations.filter(|operation| calls.binary_search(&operation.call).is_ok());
    is_linearizable(&chosen.cloned().collect::<Vec<_>>()) == Some(false)
}
