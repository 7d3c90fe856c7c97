//! One lock of a session, in words.

use advisory_core::Mode;
use advisory_core::monitor::LockStatus;

/// The key, and what its session says that it is.
pub(super) fn name(lock: &LockStatus) -> String {
    match lock.tag() {
        Some(tag) => format!("{} (`{tag}`)", lock.key),
        None => lock.key.to_string(),
    }
}

/// `waits 3.2 s`, `holds, shared`
pub(super) fn doing(lock: &LockStatus) -> String {
    let doing = match lock.since {
        _ if lock.granted => "holds".to_owned(),
        Some(since) => format!("waits {:.1} s", since.as_secs_f64()),
        None => "waits".to_owned(),
    };
    match lock.mode {
        Mode::Exclusive => doing,
        Mode::Shared => format!("{doing}, shared"),
    }
}
