//! The scenarios of each verb, and of locks with other settings.

use std::sync::Arc;

use advisory_verbs::{Refusal, Scope, Verb};

use crate::env::{Env, Run};
use crate::scenario::{PoolState, Scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    Verb::ALL.into_iter().flat_map(of).collect()
}

fn of(verb: Verb) -> Vec<Scenario> {
    let lock = || Scenario::of(verb);
    let mut scenarios = vec![lock()];
    if verb.can_wait() {
        scenarios.push(lock().granted());
    }
    if verb.is_of_lock() {
        scenarios.push(lock().timed_out());
    }
    if verb.refusal() == Refusal::Report {
        scenarios.push(lock().without_timeout().refused());
    }
    if verb.is_function() {
        scenarios.push(lock().shared());
    }
    // The verbs of a scope have the messages of the scope in common, so one of them stands for all.
    match verb {
        Verb::Begin => scenarios.extend([
            lock().without_bound(),
            lock().on(PoolState::New),
            lock().several(),
            lock().polling().granted(),
            lock().isolated().on(PoolState::New),
            lock().isolated().granted(),
            lock().isolated().timed_out(),
            lock().permit(),
            lock().permit().granted(),
            lock().permit().timed_out(),
            lock().permit().isolated().granted(),
        ]),
        Verb::TryBegin => scenarios.extend([
            lock().without_timeout().on(PoolState::New),
            lock().isolated().without_timeout().refused(),
        ]),
        Verb::AcquireXact => scenarios.extend([
            lock().on(PoolState::NewServer),
            lock().several(),
            lock().several().timed_out(),
            lock().polling().granted(),
            lock().permit().granted(),
            lock().permit().timed_out(),
        ]),
        Verb::TryAcquireXact => scenarios.extend([
            lock().several().without_timeout().refused(),
            lock().polling().timed_out(),
        ]),
        Verb::Acquire => scenarios.extend([
            lock().without_bound(),
            lock().on(PoolState::New),
            lock().several(),
            lock().polling().granted(),
            lock().permit().on(PoolState::New),
            lock().permit().granted(),
            lock().permit().timed_out(),
        ]),
        Verb::AttributeInSession => scenarios.extend([
            lock().permit(),
            lock().permit().granted(),
            lock().permit().timed_out(),
        ]),
        Verb::TryAcquire => scenarios.extend([
            lock().on(PoolState::New),
            lock().several().without_timeout().refused(),
        ]),
        Verb::AttributeOnConnection | Verb::XactLock => {
            scenarios.push(lock().on(PoolState::NewServer));
        }
        Verb::Transaction
        | Verb::TryTransaction
        | Verb::AttributeInside
        | Verb::AttributeOnPool
        | Verb::AttributeInsideSkipping
        | Verb::AttributeSkipping
        | Verb::AttributeOnTransaction
        | Verb::AttributeBesideConnection
        | Verb::AttributeOnConnectionSkipping
        | Verb::AttributeInSessionSkipping
        | Verb::TryXactLock
        | Verb::Lock
        | Verb::TryLock => {}
    }
    scenarios
}

/// Takes the lock with the verb, and writes the row under it.
pub(crate) fn run(verb: Verb, env: &Arc<Env>) -> Run {
    let (env, writing) = (Arc::clone(env), Arc::clone(env));
    let running = verb.run(&env.session_lock_if(verb), &env.pool, |held| {
        Box::pin(async move {
            match held {
                Some(conn) => writing.write(conn).await,
                None => writing.write(&writing.pool).await,
            }
        })
    });
    Box::pin(async move {
        // The library bounds neither PostgreSQL's functions nor the end of the caller's
        // transaction.
        let outcome = if verb.is_function() || verb.scope() == Scope::CallerTransaction {
            env.give_up_in_time(running).await
        } else {
            env.until_committed(running).await
        };
        match outcome {
            Err(error) if error.is_not_acquired() => Ok(false),
            outcome => outcome,
        }
    })
}
