//! Failover: a primary ends or is cut off, and its standby takes over.
//!
//! A holder of a lock is notified in time, a waiter gets an error, and the next caller finds the
//! new primary through the same pool.

mod client;
mod fencing;
mod lead;
mod measured;
mod notification;
mod pair;
mod partition;
mod timeline;

use std::time::Duration;

use advisory_core::AdvisoryLock;

/// The interval between two probes of a session that holds a lock.
const PROBING: Duration = Duration::from_millis(200);
/// How long the response to a probe, or to any other request, may take: the interval, and at least
/// a second.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The additional time that a busy machine may take.
const SLACK: Duration = Duration::from_secs(10);

fn lock(name: &str) -> AdvisoryLock {
    AdvisoryLock::new(name).response_timeout(RESPONSE_TIMEOUT)
}

fn session_lock(name: &str) -> AdvisoryLock {
    lock(name).keepalive_interval(PROBING)
}
