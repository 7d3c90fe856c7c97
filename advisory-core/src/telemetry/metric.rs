//! Counts and times, with the feature `metrics`; without it, nothing.

#[cfg(feature = "metrics")]
use std::iter;
use std::time::Duration;
#[cfg(feature = "metrics")]
use std::time::Instant;

use crate::lock::LockId;

/// Where a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In the caller's transaction.
    CallerTransaction,
    /// In a transaction that is opened on a pool.
    NewTransaction,
    /// In a transaction that is opened on the caller's connection.
    CallerConnection,
    /// In a session of its own.
    Session,
}

impl Scope {
    /// The label in spans and metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::CallerTransaction | Self::NewTransaction | Self::CallerConnection => "xact",
            Self::Session => "session",
        }
    }
}

/// How an acquire ended; the label in spans and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acquired,
    NotAcquired,
    Deadlock,
    Error,
    Dropped,
}

impl Outcome {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Acquired => "acquired",
            Self::NotAcquired => "not_acquired",
            Self::Deadlock => "deadlock",
            Self::Error => "error",
            Self::Dropped => "dropped",
        }
    }
}

/// Counts an acquire that has ended.
#[cfg_attr(
    not(feature = "metrics"),
    expect(unused_variables, reason = "there is no recorder")
)]
pub(crate) fn count_acquire(scope: Scope, outcome: Outcome, waited: Duration) {
    #[cfg(feature = "metrics")]
    {
        let (scope, outcome) = (scope.label(), outcome.label());
        metrics::counter!("advisory_acquire_total", "scope" => scope, "outcome" => outcome)
            .increment(1);
        metrics::histogram!("advisory_wait_seconds", "scope" => scope, "outcome" => outcome)
            .record(waited);
    }
}

/// Counts the time that an acquire has waited in this process.
#[cfg_attr(
    not(feature = "metrics"),
    expect(unused_variables, reason = "there is no recorder")
)]
pub(crate) fn count_queue_time(scope: Scope, waited: Duration) {
    #[cfg(feature = "metrics")]
    metrics::histogram!("advisory_queue_seconds", "scope" => scope.label()).record(waited);
}

/// Counts an acquire as waiting until it is dropped.
pub(crate) struct Waiting {
    #[cfg(feature = "metrics")]
    gauge: metrics::Gauge,
}

impl Waiting {
    /// For its turn, or for a place among those that wait on the server.
    pub(crate) fn in_process(scope: Scope) -> Self {
        Self::start(scope, "process")
    }

    /// For the answer of the server, or for a connection.
    pub(crate) fn on_server(scope: Scope) -> Self {
        Self::start(scope, "server")
    }

    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, reason = "there is no recorder")
    )]
    fn start(scope: Scope, queue: &'static str) -> Self {
        #[cfg(feature = "metrics")]
        {
            let scope = scope.label();
            let gauge = metrics::gauge!("advisory_waiting", "scope" => scope, "queue" => queue);
            gauge.increment(1);
            Self { gauge }
        }
        #[cfg(not(feature = "metrics"))]
        Self {}
    }
}

#[cfg(feature = "metrics")]
impl Drop for Waiting {
    fn drop(&mut self) {
        self.gauge.decrement(1);
    }
}

/// Counts a lock, or a permit of one, as held until it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    #[cfg(feature = "metrics")]
    scope: &'static str,
    #[cfg(feature = "metrics")]
    is_permit: bool,
    #[cfg(feature = "metrics")]
    started: Instant,
}

impl Hold {
    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, reason = "there is no recorder")
    )]
    pub(crate) fn start(lock: &LockId, scope: Scope) -> Self {
        let hold = Self {
            #[cfg(feature = "metrics")]
            scope: scope.label(),
            #[cfg(feature = "metrics")]
            is_permit: lock.permits() > 1,
            #[cfg(feature = "metrics")]
            started: Instant::now(),
        };
        #[cfg(feature = "metrics")]
        hold.gauges().for_each(|gauge| gauge.increment(1));
        hold
    }

    #[cfg(feature = "metrics")]
    fn gauges(&self) -> impl Iterator<Item = metrics::Gauge> {
        let held = metrics::gauge!("advisory_held", "scope" => self.scope);
        let permit = self
            .is_permit
            .then(|| metrics::gauge!("advisory_permits_held", "scope" => self.scope));
        iter::once(held).chain(permit)
    }
}

#[cfg(feature = "metrics")]
impl Drop for Hold {
    fn drop(&mut self) {
        self.gauges().for_each(|gauge| gauge.decrement(1));
        metrics::histogram!("advisory_hold_seconds", "scope" => self.scope)
            .record(self.started.elapsed());
    }
}

/// Describes the metrics and their units to the recorder. Call it once, after the recorder is
/// installed.
///
/// | metric | kind | labels | |
/// |---|---|---|---|
/// | `advisory_acquire_total` | counter | `outcome`, `scope` | acquires that have ended; `outcome` is that of the span |
/// | `advisory_wait_seconds` | histogram | `outcome`, `scope` | how long they took, including a pooled connection |
/// | `advisory_queue_seconds` | histogram | `scope` | how long of that they waited in this process, if they did |
/// | `advisory_waiting` | gauge | `scope`, `queue` | acquires that wait now: in this process (`queue` is `process`), or on the server (`server`) |
/// | `advisory_hold_seconds` | histogram | `scope` | how long a lock was held |
/// | `advisory_held` | gauge | `scope` | locks that are held now |
/// | `advisory_permits_held` | gauge | `scope` | permits that are held now, of locks with several; also counted in `advisory_held` |
///
/// `scope` is `xact` or `session`. No label contains the name of a lock: there are too many names.
/// The last three metrics count the holds whose end the library sees: guards, closures, and
/// annotated functions on a pool or a connection. A transaction that the caller ends, from
/// [`begin`](crate::AdvisoryLock::begin) or [`acquire_xact`](crate::AdvisoryLock::acquire_xact), is
/// not counted. [Polling](crate::AdvisoryLock::polling) without a timeout is one acquire, however
/// long it takes. PostgreSQL's functions at the crate root are single statements, and are not
/// counted.
///
/// ```
/// // After `metrics_exporter_prometheus::PrometheusBuilder::new().install()`, say.
/// advisory_core::describe_metrics();
/// ```
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(
        "advisory_acquire_total",
        "Acquires of advisory locks that have ended."
    );
    describe_histogram!(
        "advisory_wait_seconds",
        Unit::Seconds,
        "How long acquires of advisory locks took."
    );
    describe_histogram!(
        "advisory_queue_seconds",
        Unit::Seconds,
        "How long acquires of advisory locks waited in this process."
    );
    describe_gauge!("advisory_waiting", "Acquires of advisory locks that wait.");
    describe_histogram!(
        "advisory_hold_seconds",
        Unit::Seconds,
        "How long advisory locks were held."
    );
    describe_gauge!("advisory_held", "Advisory locks that are held.");
    describe_gauge!(
        "advisory_permits_held",
        "Permits that are held, of advisory locks with several."
    );
}
