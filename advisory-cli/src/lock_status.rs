//! What the command reads from a row of [`monitor::locks`](advisory_core::monitor::locks).

use advisory_core::Key;
use advisory_core::monitor::LockStatus;

use crate::duration::age;

/// A lock of the server: its database and its key.
pub(crate) type LockId<'a> = (&'a str, Key);

/// A session: its process id, or 0 and the name of a prepared transaction.
pub(crate) type SessionId<'a> = (i32, Option<&'a str>);

/// The state of a session whose `track_activities` is off.
pub(crate) const UNTRACKED: &str = "disabled";

pub(crate) fn lock_id(lock: &LockStatus) -> LockId<'_> {
    (&lock.database, lock.key)
}

pub(crate) fn session_id(lock: &LockStatus) -> SessionId<'_> {
    (lock.pid, lock.gid.as_deref())
}

/// Whether the lock is held or waited for, and for how long. For a holder, that is the age of its
/// transaction.
pub(crate) fn status(lock: &LockStatus) -> String {
    let verb = if lock.granted { "held" } else { "waits" };
    match lock.waiting_for.or(lock.transaction_age) {
        Some(duration) => format!("{verb} {}", age(duration)),
        None => verb.to_owned(),
    }
}

/// The `application_name` of the session, without the tag that `AdvisoryLock::tag_session` adds.
pub(crate) fn application(lock: &LockStatus) -> Option<String> {
    let mut name = lock.application_name.as_deref()?;
    if lock.tag().is_some() {
        name = name.rsplit_once("advisory:").map_or("", |(own, _)| own);
    }
    Some(name.trim_end().to_owned()).filter(|name| !name.is_empty())
}

/// The state of the session, for how long it has been in it, and the lock that it waits for if that
/// is not this one.
pub(crate) fn state(lock: &LockStatus) -> Option<String> {
    if let Some(gid) = &lock.gid {
        return Some(format!("prepared transaction '{gid}'"));
    }
    let mut state = lock.state.clone()?;
    let event = lock.wait_event.as_deref().filter(|_| lock.granted);
    if let Some(other) = event.and_then(|event| event.strip_prefix("Lock: ")) {
        state = format!("{state}, waits for {other}");
    }
    Some(match lock.state_age {
        Some(duration) => format!("{state} {}", age(duration)),
        None => state,
    })
}

/// The statement of the session, if it is known. `None` for the message with which the library has
/// asked for the lock: the session has run nothing since.
pub(crate) fn query(lock: &LockStatus) -> Option<&str> {
    let query = lock.query.as_deref()?;
    (!query.trim().is_empty() && !query.contains(LIBRARY_COMMENT)).then_some(query)
}

/// Begins the comment in the messages of `advisory-core`; a process-wide number follows.
const LIBRARY_COMMENT: &str = "/* advisory ";
