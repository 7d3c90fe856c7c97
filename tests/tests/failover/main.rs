//! A primary ends, or is cut off, and its standby takes over: who held a lock is told in time, who waited is told, and who comes
//! next finds the new primary, through the same pool.

mod client;
mod fencing;
mod life;
mod measured;
mod pair;
mod partition;
mod told;

use std::time::Duration;

use advisory_core::AdvisoryLock;

/// How often a session that holds a lock is asked for a sign of life.
const PROBING: Duration = Duration::from_millis(200);
/// How long the answer to that may take, or to any other question: the interval, and at least a second.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a busy machine may take on top.
const SLACK: Duration = Duration::from_secs(2);

fn lock(name: &str) -> AdvisoryLock {
    AdvisoryLock::new(name).response_timeout(PATIENCE)
}

fn session_lock(name: &str) -> AdvisoryLock {
    lock(name).keepalive_interval(PROBING)
}
