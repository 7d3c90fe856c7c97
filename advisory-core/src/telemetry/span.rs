//! The span around every acquire.

use std::time::{Duration, Instant};

use tracing::field::Empty;
use tracing::{Span, debug_span};

use super::metric::{self, Outcome, Scope, Waiting};
use crate::lock::LockId;

/// The span of one acquire, which is also counted. It ends when it is dropped.
pub(crate) struct AcquireSpan {
    span: Span,
    scope: Scope,
    started: Instant,
    outcome: Outcome,
    /// How long the acquire has waited in this process: for its turn, and for a place among those
    /// that wait on the server.
    queued: Duration,
    queueing: Option<(Instant, Waiting)>,
}

impl AcquireSpan {
    pub(crate) fn start(lock: &LockId, scope: Scope) -> Self {
        let first = lock.keys().first().map(tracing::field::display);
        let span = debug_span!(
            "advisory_lock",
            lock.name = lock.name(),
            lock.key = first,
            lock.keys = lock.keys().len(),
            lock.scope = scope.label(),
            lock.mode = lock.mode().name(),
            lock.outcome = Empty,
            lock.wait_ms = Empty,
            lock.queue_ms = Empty,
        );
        Self {
            span,
            scope,
            started: Instant::now(),
            outcome: Outcome::Dropped,
            queued: Duration::ZERO,
            queueing: None,
        }
    }

    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(crate) fn start_queueing(&mut self) {
        self.queueing = Some((Instant::now(), Waiting::in_process(self.scope)));
    }

    pub(crate) fn stop_queueing(&mut self) {
        if let Some((started, _waiting)) = self.queueing.take() {
            self.queued += started.elapsed();
        }
    }

    pub(crate) fn set_outcome(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for AcquireSpan {
    fn drop(&mut self) {
        self.stop_queueing();
        if !self.queued.is_zero() {
            self.span.record("lock.queue_ms", milliseconds(self.queued));
            metric::count_queue_time(self.scope, self.queued);
        }
        let waited = self.started.elapsed();
        self.span.record("lock.outcome", self.outcome.label());
        self.span.record("lock.wait_ms", milliseconds(waited));
        metric::count_acquire(self.scope, self.outcome, waited);
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
