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
        }
    }

    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(crate) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for AcquireSpan {
    fn drop(&mut self) {
        let waited = self.started.elapsed();
        self.span.record("lock.outcome", self.outcome.label());
        self.span
            .record("lock.wait_ms", waited.as_secs_f64() * 1000.0);
        metric::count_acquire(self.scope, self.outcome, waited);
    }
}

/// How long an acquire waits in this process: for its turn, and for a place among those that wait
/// on the server. Recorded when it is dropped.
pub(crate) struct QueueTime {
    span: Span,
    scope: Scope,
    total: Duration,
    current: Option<(Instant, Waiting)>,
}

impl QueueTime {
    pub(crate) fn new(scope: Scope) -> Self {
        Self {
            span: Span::none(),
            scope,
            total: Duration::ZERO,
            current: None,
        }
    }

    /// Records the time in the span of the acquire.
    pub(crate) fn record_in(&mut self, span: &AcquireSpan) {
        self.span = span.span();
    }

    pub(crate) fn start(&mut self) {
        self.current = Some((Instant::now(), Waiting::in_process(self.scope)));
    }

    pub(crate) fn stop(&mut self) {
        if let Some((started, _waiting)) = self.current.take() {
            self.total += started.elapsed();
        }
    }
}

impl Drop for QueueTime {
    fn drop(&mut self) {
        self.stop();
        if !self.total.is_zero() {
            let milliseconds = self.total.as_secs_f64() * 1000.0;
            self.span.record("lock.queue_ms", milliseconds);
            metric::count_queue_time(self.scope, self.total);
        }
    }
}
