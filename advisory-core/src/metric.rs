//! Counts and times, for the feature `metrics`. Without it, nothing.

use std::time::Duration;
#[cfg(feature = "metrics")]
use std::time::Instant;

/// Notes how an acquire has ended.
#[cfg_attr(
    not(feature = "metrics"),
    expect(unused_variables, reason = "nobody counts")
)]
pub(crate) fn acquire(scope: &'static str, outcome: &'static str, waited: Duration) {
    #[cfg(feature = "metrics")]
    {
        metrics::counter!("advisory_acquire_total", "scope" => scope, "outcome" => outcome)
            .increment(1);
        metrics::histogram!("advisory_wait_seconds", "scope" => scope, "outcome" => outcome)
            .record(waited);
    }
}

/// A lock that is held, until it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    #[cfg(feature = "metrics")]
    scope: &'static str,
    #[cfg(feature = "metrics")]
    since: Instant,
}

impl Hold {
    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, reason = "nobody counts")
    )]
    pub(crate) fn start(scope: &'static str) -> Self {
        #[cfg(feature = "metrics")]
        metrics::gauge!("advisory_held", "scope" => scope).increment(1);
        Self {
            #[cfg(feature = "metrics")]
            scope,
            #[cfg(feature = "metrics")]
            since: Instant::now(),
        }
    }
}

#[cfg(feature = "metrics")]
impl Drop for Hold {
    fn drop(&mut self) {
        metrics::gauge!("advisory_held", "scope" => self.scope).decrement(1);
        metrics::histogram!("advisory_hold_seconds", "scope" => self.scope)
            .record(self.since.elapsed());
    }
}

/// Tells the recorder what the metrics mean, and in which unit they are. Call it once, after the recorder is installed.
///
/// | metric | kind | labels | |
/// |---|---|---|---|
/// | `advisory_acquire_total` | counter | `outcome`, `scope` | acquires that have ended; `outcome` is that of the span |
/// | `advisory_wait_seconds` | histogram | `outcome`, `scope` | how long they took, a pooled connection included |
/// | `advisory_hold_seconds` | histogram | `scope` | how long a lock was held |
/// | `advisory_held` | gauge | `scope` | locks that are held now |
///
/// `scope` is `xact` or `session`. No label has the name of a lock in it: there are too many of them. The last two count what the
/// library sees the end of: guards, closures and annotated functions on a pool or a connection. A transaction that is in your hands,
/// from [`begin`](crate::AdvisoryLock::begin) or joined by [`acquire_xact`](crate::AdvisoryLock::acquire_xact), ends without it.
/// Who stands for a lock for hours, [polling](crate::AdvisoryLock::polling) without a timeout, is one acquire of hours, or one that was
/// `dropped`. PostgreSQL's functions at the crate root, which are one statement, are not counted.
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
        "advisory_hold_seconds",
        Unit::Seconds,
        "How long advisory locks were held."
    );
    describe_gauge!("advisory_held", "Advisory locks that are held.");
}
