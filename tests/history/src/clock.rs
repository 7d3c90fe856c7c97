//! The time of events.

use nix::time::{ClockId, clock_gettime};

/// The time in nanoseconds of a clock that all processes of this machine share, and that nobody
/// sets.
///
/// # Panics
///
/// If the system has no such clock.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC);
    let time = time.unwrap_or_else(|error| panic!("CLOCK_MONOTONIC can be read: {error}"));
    let (seconds, nanoseconds) = (time.tv_sec(), time.tv_nsec());
    seconds.unsigned_abs() * 1_000_000_000 + nanoseconds.unsigned_abs()
}
