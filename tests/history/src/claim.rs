//! What a call proves: the operations of its keys.
//!
//! A lock is held on the server, and its client learns of it late, or never. So an outcome is first
//! translated into what it proves.
//!
//! | the call | operations |
//! |---|---|
//! | was not granted | none. A refusal does not say that somebody holds the lock: PostgreSQL also refuses while others wait. A call without an answer may have been granted, and may have ended at any time since; it can stand after all others, where it changes nothing |
//! | was granted | `Acquire`, between the call and the grant |
//! | drew a token | `Draw`, between the question and the answer. In a transaction, if that has committed: before PostgreSQL 17, a crash can repeat the token of a transaction that has not |
//! | was released, and the server confirmed that the lock was held | `Release`, between the end of the section and the return |
//! | ended in any other way: lost, dropped, killed, or with an error | the last proof that the lock was held, the grant or a token, is also its end |
//!
//! The lock of the last row may have ended later, with the session. An end only allows more to
//! others, so if there is any order, there is one in which the lock ends with the last proof.
//!
//! A `LockSession` passes a lock on in memory, and returns without an answer of the server. If the
//! session was lost at that moment, neither the grant nor the release is a fact of the server, and
//! another process may hold the lock. This is the moment between a loss and its notice. So the
//! outcome [`Unconfirmed`](Outcome::Unconfirmed) counts as a release if no fault concerned the
//! process from [`SETTLING`] before the grant until the end of the section. Otherwise the lock was
//! held until the last token, and a call without a token proves nothing. Such calls are counted as
//! unproven.

use std::collections::BTreeMap;

use crate::call::{Call, Fault, History};
use crate::event::{Mode, Outcome, Scope};

/// How long a fault has consequences after its end: longer than a client takes to notice the loss
/// of its session.
pub(crate) const SETTLING: u64 = 2_000_000_000;

/// An operation on a lock, which happened at some time from `invoked` to `returned`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// The index of the call in the history, which also names the holder.
    pub(crate) call: usize,
    pub(crate) step: Step,
    /// Whether the lock may have ended right afterwards.
    pub(crate) is_last: bool,
    pub(crate) invoked: u64,
    pub(crate) returned: u64,
}

impl Operation {
    /// Whether the lock is free, or may be, afterwards.
    pub(crate) fn ends_lock(&self) -> bool {
        self.is_last || self.step == Step::Release
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Acquire {
        mode: Mode,
        permits: u32,
        /// Drawn together with the grant.
        token: Option<i64>,
    },
    Draw(i64),
    Release,
}

impl Step {
    /// The fencing token that is drawn.
    pub(crate) fn token(&self) -> Option<i64> {
        match self {
            Self::Acquire { token, .. } => *token,
            Self::Draw(token) => Some(*token),
            Self::Release => None,
        }
    }
}

/// What the calls of a key prove.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    pub(crate) calls: usize,
    pub(crate) granted: usize,
    /// The calls that were granted and prove nothing.
    pub(crate) unproven: usize,
    pub(crate) operations: Vec<Operation>,
}

/// The claims of each key.
pub(crate) fn claims(history: &History) -> BTreeMap<i64, Claims> {
    let mut keys = BTreeMap::<i64, Claims>::new();
    for (index, call) in history.calls.iter().enumerate() {
        let operations = operations(index, call, &history.faults);
        for key in &call.plan.keys {
            let claims = keys.entry(*key).or_default();
            claims.calls += 1;
            claims.granted += usize::from(call.granted.is_some());
            claims.unproven += usize::from(call.granted.is_some() && operations.is_empty());
            claims.operations.extend_from_slice(&operations);
        }
    }
    keys
}

fn operations(index: usize, call: &Call, faults: &[Fault]) -> Vec<Operation> {
    let Some(granted) = call.granted else {
        return Vec::new();
    };
    let release = confirmed_release(call, granted, faults);
    let has_tokens = call.plan.scope != Scope::Transaction || release.is_some();
    let tokens = if has_tokens { &call.tokens[..] } else { &[] };
    let token = call.term.filter(|_| has_tokens);
    let proves_grant =
        call.plan.scope != Scope::LockSession || token.is_some() || !tokens.is_empty();
    if release.is_none() && !proves_grant {
        return Vec::new();
    }
    let operation = |step, invoked, returned| Operation {
        call: index,
        step,
        is_last: false,
        invoked,
        returned,
    };
    let acquire = Step::Acquire {
        mode: call.plan.mode,
        permits: call.plan.permits,
        token,
    };
    let mut operations = vec![operation(acquire, call.invoked, granted)];
    let draws = tokens
        .iter()
        .map(|token| operation(Step::Draw(token.number), token.invoked, token.returned));
    operations.extend(draws);
    match (release, operations.last_mut()) {
        (Some((released, returned)), _) => {
            operations.push(operation(Step::Release, released, returned));
        }
        (None, Some(last)) => last.is_last = true,
        (None, None) => {}
    }
    operations
}

/// When a release that is a fact was asked for, and when it was confirmed.
fn confirmed_release(call: &Call, granted: u64, faults: &[Fault]) -> Option<(u64, u64)> {
    let (released, (returned, outcome)) = (call.released?, call.returned?);
    let is_fact = match outcome {
        Outcome::Released => true,
        Outcome::Unconfirmed => !faults.iter().any(|fault| {
            let concerns = fault
                .process
                .is_none_or(|process| process == call.plan.process);
            concerns && fault.began <= released && fault.ended + SETTLING >= granted
        }),
        _ => false,
    };
    is_fact.then_some((released, returned))
}
