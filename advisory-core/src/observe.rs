//! Every acquire is a span, and counted.

use std::future::Future;
use std::time::Instant;

use tracing::field::Empty;
use tracing::{Instrument as _, Span, debug_span};

use crate::{AdvisoryLock, Error, metric};

/// Runs an acquire inside its span, and writes down how it ended.
///
/// It is boxed here, once, so that what the user awaits stays small: sqlx's pool alone takes kilobytes.
pub(crate) fn observe<T>(
    lock: &AdvisoryLock,
    scope: &'static str,
    acquire: impl Future<Output = Result<T, Error>>,
    acquired: impl FnOnce(&T) -> bool,
) -> impl Future<Output = Result<T, Error>> {
    let acquire = Box::pin(acquire);
    let observation = Observation::start(lock, scope);
    async move {
        let result = acquire.instrument(observation.span.clone()).await;
        observation.end(outcome(result.as_ref().map(acquired)));
        result
    }
}

/// Says that what is read under a lock may be older than the lock.
pub(crate) fn warn_of_old_snapshot(lock: &AdvisoryLock, isolation: &str) {
    if isolation != "read committed" {
        tracing::warn!(
            %lock,
            isolation,
            "the transaction's snapshot is older than its lock: it does not see what the last holder has committed; \
             open it with `AdvisoryLock::isolation`"
        );
    }
}

/// Written down when it is dropped.
struct Observation {
    span: Span,
    scope: &'static str,
    started: Instant,
    outcome: &'static str,
}

impl Observation {
    fn start(lock: &AdvisoryLock, scope: &'static str) -> Self {
        Self {
            span: span(lock, scope),
            scope,
            started: Instant::now(),
            outcome: "dropped",
        }
    }

    fn end(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let waited = self.started.elapsed();
        self.span.record("lock.outcome", self.outcome);
        self.span
            .record("lock.wait_ms", waited.as_secs_f64() * 1000.0);
        metric::acquire(self.scope, self.outcome, waited);
    }
}

fn span(lock: &AdvisoryLock, scope: &'static str) -> Span {
    let first = lock.keys().first().map(tracing::field::display);
    debug_span!(
        "advisory_lock",
        lock.name = lock.name(),
        lock.key = first,
        lock.keys = lock.keys().len(),
        lock.scope = scope,
        lock.mode = lock.mode().name(),
        lock.outcome = Empty,
        lock.wait_ms = Empty,
    )
}

fn outcome(result: Result<bool, &Error>) -> &'static str {
    match result {
        Ok(true) => "acquired",
        Ok(false) | Err(Error::NotAcquired { .. }) => "not_acquired",
        Err(Error::Deadlock { .. }) => "deadlock",
        Err(_) => "error",
    }
}
