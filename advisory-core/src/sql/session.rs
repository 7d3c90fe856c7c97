//! The messages of the session verbs; see [`message`](super::message) on how they are written.

use std::fmt::Write as _;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::literal::{Calls, Function, text};
use super::message::{ACQUIRED, AFRESH, Platform, if_acquired, waiting};
use crate::wait::Wait;
use crate::{AdvisoryLock, label};

/// Settings of a session that holds a lock. What they were is kept by the client and put back with the release.
///
/// A session that holds a lock is idle by design, so `idle_session_timeout` must not end it; and it looks whether its client is
/// there, also in the middle of a statement. The last one is for a session that is to be named.
///
/// With what the session says of one that was before what it becomes, which need not be put back.
const SETTINGS: [(&str, Option<&str>); 3] = [
    ("idle_session_timeout", Some("0")),
    ("client_connection_check_interval", Some("500ms")),
    ("application_name", None),
];

/// Those that this lock changes.
fn changed(lock: &AdvisoryLock) -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
    SETTINGS
        .into_iter()
        .take(2 + usize::from(lock.session_name().is_some()))
}

/// What they become, in their order; expressions.
fn values(lock: &AdvisoryLock, platform: Platform) -> impl Iterator<Item = String> {
    let named = lock.session_name().map(|name| {
        let label = label::write(name);
        let own = format!(
            "pg_catalog.left(pg_catalog.current_setting('application_name'),{})",
            label::room_before(&label)
        );
        format!("pg_catalog.ltrim(pg_catalog.concat({own},' {label}'))")
    });
    let always = ["'0'", platform.check_interval()].map(str::to_owned);
    always.into_iter().chain(named)
}

/// What the settings of a session were before it held a lock, where that was something else.
#[derive(Debug)]
pub(crate) struct Kept(Vec<(&'static str, String)>);

impl Kept {
    /// From the first row of [`lock`] or [`try_lock`].
    pub(crate) fn read(lock: &AdvisoryLock, row: &PgRow) -> Result<Self, sqlx::Error> {
        let mut kept = Vec::new();
        for (column, (name, becomes)) in changed(lock).enumerate() {
            let value: &str = row.try_get(column)?;
            if becomes != Some(value) {
                kept.push((name, value.to_owned()));
            }
        }
        Ok(Self(kept))
    }
}

/// Waits for the lock and gives it to the session. The first row is what to [keep](Kept::read); the last column of the last one is
/// true.
///
/// The wait is one for a transaction lock, in the message's own implicit transaction, and the session's lock is asked for when
/// there is nothing left to wait for. A session lock whose wait fails may have been granted all the same; a transaction lock
/// is gone with its transaction. So a timeout leaves nothing behind.
pub(crate) fn lock(lock: &AdvisoryLock, wait: Wait, platform: Platform) -> String {
    let mut message = format!(
        "{AFRESH};SELECT {},{};{}",
        kept(lock),
        settings(lock, platform),
        waiting(lock, wait, "")
    );
    // A statement of its own: between two the server looks whether the timeout has fired after all. Within one it would look too late.
    if let Some(call) = Function::Lock.call(lock) {
        let _ = write!(message, ";SELECT {call},true");
        return message;
    }
    for Calls { call, rows } in Function::Lock.calls(lock) {
        let _ = write!(message, ";SELECT FROM {rows} WHERE {call} IS NULL");
    }
    message.push_str(";SELECT true");
    message
}

/// Asks for the lock without waiting: all keys, or none. The first row is what to [keep](Kept::read); the last column of the last
/// one is the answer.
pub(crate) fn try_lock(lock: &AdvisoryLock, platform: Platform) -> String {
    let mut message = format!(
        concat!("{};SELECT {},", refuse_standby!(), ","),
        AFRESH,
        kept(lock)
    );
    let settings = settings(lock, platform);
    if let Some(call) = Function::TryLock.call(lock) {
        let _ = write!(
            message,
            "CASE WHEN {call} THEN ({settings}) IS NOT NULL ELSE false END"
        );
        return message;
    }
    // Transaction locks first: if some key is not to be had, the others are gone with the implicit transaction.
    let tried = Function::TryXactLock.all(lock);
    let _ = write!(
        message,
        "pg_catalog.set_config('advisory.acquired',({tried})::pg_catalog.text,true)"
    );
    if_acquired(&mut message, Function::Lock, lock);
    let _ = write!(
        message,
        ";SELECT CASE WHEN {ACQUIRED} THEN ({settings}) IS NOT NULL ELSE false END"
    );
    message
}

/// Leaves a mark on the session: a lock on a key of chance. The last row is the server.
pub(crate) fn leave(mark: &AdvisoryLock) -> String {
    let call = Function::TryLock.all(mark);
    format!(
        concat!("{};SELECT ", server_for_all!(), ",{}"),
        AFRESH, call
    )
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
            server_for_all!()
        ),
        classid, objid, objsubid, unlock
    )
}

/// Releases the lock, and puts the settings back. One row: whether every key was held, and whether a transaction is open.
pub(crate) fn unlock(lock: &AdvisoryLock, kept: &Kept) -> String {
    let released = Function::Unlock.all(lock);
    let mut message = format!(concat!("SELECT {},", in_transaction!()), released);
    for (name, value) in &kept.0 {
        let _ = write!(
            message,
            ",pg_catalog.set_config('{name}',{},false)",
            text(value)
        );
    }
    message
}

fn kept(lock: &AdvisoryLock) -> String {
    let values = changed(lock).map(|(name, _)| format!("pg_catalog.current_setting('{name}')"));
    values.collect::<Vec<_>>().join(",")
}

fn settings(lock: &AdvisoryLock, platform: Platform) -> String {
    let set = changed(lock)
        .zip(values(lock, platform))
        .map(|((name, _), value)| format!("pg_catalog.set_config('{name}',{value},false)"));
    set.collect::<Vec<_>>().join(",")
}
