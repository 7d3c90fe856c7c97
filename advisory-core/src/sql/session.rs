//! The messages of the session verbs; see [`message`](super::message) on how they are written.

use std::fmt::Write as _;

use super::literal::{Calls, Function};
use super::message::{ACQUIRED, AFRESH, PRELUDE, Platform, if_acquired, wait_on_primary};
use crate::wait::Wait;
use crate::{AdvisoryLock, label};

/// Settings of a session that holds a lock. Each is kept in a setting of our own and put back when the lock is released.
///
/// A session that holds a lock is idle by design, so `idle_session_timeout` must not end it; and it looks whether its client is
/// there, also in the middle of a statement.
fn changes(lock: &AdvisoryLock, platform: Platform) -> Vec<(&'static str, String)> {
    let mut changes = vec![
        ("idle_session_timeout", "'0'".to_owned()),
        (
            "client_connection_check_interval",
            platform.check_interval().to_owned(),
        ),
    ];
    if let Some(name) = lock.session_name() {
        let label = label::write(name);
        let own = format!(
            "pg_catalog.left(pg_catalog.current_setting('application_name'),{})",
            label::room_before(&label)
        );
        let whole = format!("pg_catalog.ltrim(pg_catalog.concat({own},' {label}'))");
        changes.push(("application_name", whole));
    }
    changes
}

/// Waits for the lock and gives it to the session. One row whose first column is true.
///
/// The wait is one for a transaction lock, in the message's own implicit transaction, and the session's lock is asked for when
/// there is nothing left to wait for. A session lock whose wait fails may have been granted all the same; a transaction lock
/// is gone with its transaction. So a timeout leaves nothing behind.
pub(crate) fn lock(lock: &AdvisoryLock, wait: Wait, platform: Platform) -> String {
    let mut message = format!(
        "{AFRESH};SELECT {};{}",
        settings(lock, platform),
        wait_on_primary(lock, wait)
    );
    if let Some(call) = Function::Lock.call(lock) {
        let _ = write!(message, ";SELECT true,{call}");
        return message;
    }
    for Calls { call, rows } in Function::Lock.calls(lock) {
        let _ = write!(message, ";SELECT {call} FROM {rows}");
    }
    message.push_str(";SELECT true");
    message
}

/// Asks for the lock without waiting: all keys, or none. One row whose first column is the answer.
pub(crate) fn try_lock(lock: &AdvisoryLock, platform: Platform) -> String {
    if let Some(call) = Function::TryLock.call(lock) {
        return format!(
            "{PRELUDE};SELECT CASE WHEN {call} THEN ({}) IS NOT NULL ELSE false END",
            settings(lock, platform)
        );
    }
    // Transaction locks first: if some key is not to be had, the others are gone with the implicit transaction.
    let tried = Function::TryXactLock.all(lock);
    let mut message = format!(
        "{PRELUDE};SELECT pg_catalog.set_config('advisory.acquired',({tried})::pg_catalog.text,true)"
    );
    if_acquired(&mut message, Function::Lock, lock);
    let settings = settings(lock, platform);
    let _ = write!(
        message,
        ";SELECT CASE WHEN {ACQUIRED} THEN ({settings}) IS NOT NULL ELSE false END"
    );
    message
}

/// Leaves a mark on the session: a lock on a key of chance. The last row is the server.
pub(crate) fn leave(mark: &AdvisoryLock) -> String {
    let call = Function::TryLock.all(mark);
    format!(concat!("{};SELECT ", server!(), ",{}"), PRELUDE, call)
}

/// Looks for the mark. One row: whether it is there; whether this session has it, which then loses it; and the server.
pub(crate) fn take_back(mark: &AdvisoryLock) -> String {
    let (classid, objid, objsubid) = mark.keys()[0].to_pg_locks();
    let unlock = Function::Unlock.all(mark);
    format!(
        concat!(
            "WITH l AS MATERIALIZED(SELECT l.pid FROM pg_catalog.pg_locks AS l \
             WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' \
             AND l.classid OPERATOR(pg_catalog.=) '{}'::pg_catalog.oid \
             AND l.objid OPERATOR(pg_catalog.=) '{}'::pg_catalog.oid \
             AND l.objsubid OPERATOR(pg_catalog.=) '{}'::pg_catalog.int2) \
             SELECT EXISTS(SELECT FROM l),CASE WHEN EXISTS(SELECT FROM l \
             WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) THEN {} ELSE false END,",
            server!()
        ),
        classid, objid, objsubid, unlock
    )
}

/// Opens a transaction.
pub(crate) const BEGIN: &str = "BEGIN";

/// Ends a transaction, also one that was aborted, in which nothing else is answered.
pub(crate) const ROLLBACK: &str = "ROLLBACK";

/// Releases the lock. One row: whether every key was held, and whether a transaction is open.
pub(crate) fn unlock(lock: &AdvisoryLock) -> String {
    let released = Function::Unlock.all(lock);
    let restored = changes(lock, Platform::Unknown)
        .into_iter()
        .map(|(name, _)| {
            // Empty if the session was reset meanwhile; then there is nothing to put back.
            let kept = format!("pg_catalog.current_setting('advisory.{name}',true)");
            format!(
                "pg_catalog.set_config('{name}',CASE WHEN {kept} OPERATOR(pg_catalog.<>) '' \
             THEN pg_catalog.substr({kept},2) ELSE pg_catalog.current_setting('{name}') END,false)"
            )
        });
    format!(
        concat!("SELECT {},", in_transaction!(), ",{}"),
        released,
        restored.collect::<Vec<_>>().join(",")
    )
}

fn settings(lock: &AdvisoryLock, platform: Platform) -> String {
    let set = changes(lock, platform).into_iter().map(|(name, value)| {
        // The sign tells an empty value from none.
        format!(
            "pg_catalog.set_config('advisory.{name}',pg_catalog.concat('=',pg_catalog.current_setting('{name}')),false),\
             pg_catalog.set_config('{name}',{value},false)"
        )
    });
    set.collect::<Vec<_>>().join(",")
}
