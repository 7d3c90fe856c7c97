//! The messages for a lock that a session holds.

use std::fmt::Write as _;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::application_name;
use super::call::{Calls, Function, text_literal};
use super::permits::{self, Reach, SLOT, Semaphore};
use super::transaction::{GRANTED, RESET, call_if_granted, lock_with_wait};
use super::{ClientCheck, IN_TRANSACTION, LOCKS, REFUSE_STANDBY, SERVER_IN_ALL_SESSIONS};
use crate::lock::{LockId, Wait};
use crate::time_bounds::CLIENT_CHECK_INTERVAL;

/// A setting of a session, for as long as the session holds a lock.
pub(crate) struct ServerSetting {
    name: &'static str,
    /// The value it gets; an expression.
    value: String,
    /// What `current_setting` reports if the value is already as wanted; such a setting is not
    /// restored.
    wanted: Option<&'static str>,
}

/// The settings of a session that holds a lock. The message that takes the lock returns their
/// previous values, and the one that releases it restores them.
///
/// A session that holds a lock is idle by design, so `idle_session_timeout` must not end it. It
/// checks whether its client is there, in the middle of a statement too. `tag` goes into its
/// `application_name`.
pub(crate) fn settings(check: ClientCheck, tag: Option<&str>) -> Vec<ServerSetting> {
    let mut settings = vec![
        ServerSetting {
            name: "idle_session_timeout",
            value: "'0'".into(),
            wanted: Some("0"),
        },
        ServerSetting {
            name: "client_connection_check_interval",
            value: check.interval(),
            wanted: Some(CLIENT_CHECK_INTERVAL),
        },
    ];
    settings.extend(tag.map(|name| {
        let tag = application_name::write(name);
        let own = format!(
            "pg_catalog.left(pg_catalog.current_setting('application_name'),{})",
            application_name::space_before(&tag)
        );
        ServerSetting {
            name: "application_name",
            value: format!("pg_catalog.ltrim(pg_catalog.concat({own},' {tag}'))"),
            wanted: None,
        }
    }));
    settings
}

/// What the release needs to know.
#[derive(Debug)]
pub(crate) struct Saved {
    settings: SavedSettings,
    /// Which lock the session has, if it is a slot of a lock with several permits.
    slot: Option<LockId>,
}

/// The values that a session's settings had before, where they were others; expressions.
#[derive(Debug)]
struct SavedSettings(Vec<(&'static str, String)>);

/// Asks for the process id of the session's backend, and for what a message has [kept](lock) whose
/// rows are lost.
pub(crate) fn ask_again(lock: &LockId) -> String {
    let slot = match Semaphore::of(lock) {
        Some(_) => SLOT,
        None => "''",
    };
    format!("SELECT pg_catalog.pg_backend_pid(),{slot}")
}

/// The process id of the session's backend, which begins the first row of [`lock`], [`try_lock`] or
/// [`ask_again`].
pub(crate) fn pid(row: &PgRow) -> Result<i32, sqlx::Error> {
    row.try_get(0)
}

impl Saved {
    /// From the rows of [`lock`] or [`try_lock`]: the first one begins with the [`pid`] and the
    /// settings, and of a lock with several permits, the slot stands before the result.
    pub(crate) fn read(
        lock: &LockId,
        settings: &[ServerSetting],
        rows: &[PgRow],
    ) -> Result<Self, sqlx::Error> {
        let missing = || sqlx::Error::RowNotFound;
        let (first, last) = (
            rows.first().ok_or_else(missing)?,
            rows.last().ok_or_else(missing)?,
        );
        let slot = match lock.semaphore() {
            Some(_) => Some(read_slot(lock, last, last.len().saturating_sub(2))?),
            None => None,
        };
        let settings = SavedSettings::read(settings, first)?;
        Ok(Self { settings, slot })
    }

    /// What the session has kept, from the row of [`ask_again`].
    pub(crate) fn kept(
        lock: &LockId,
        settings: &[ServerSetting],
        row: &PgRow,
    ) -> Result<Self, sqlx::Error> {
        let slot = match lock.semaphore() {
            Some(_) => Some(read_slot(lock, row, 1)?),
            None => None,
        };
        let settings = SavedSettings::kept(settings);
        Ok(Self { settings, slot })
    }
}

fn read_slot(lock: &LockId, row: &PgRow, column: usize) -> Result<LockId, sqlx::Error> {
    let number: &str = row.try_get(column)?;
    let number = number
        .parse()
        .map_err(|error| sqlx::Error::Decode(Box::new(error)));
    let key = permits::slot(lock, number?).ok_or(sqlx::Error::RowNotFound)?;
    Ok(lock.of_slot(key))
}

impl SavedSettings {
    fn read(settings: &[ServerSetting], row: &PgRow) -> Result<Self, sqlx::Error> {
        let mut saved = Vec::new();
        for (column, setting) in settings.iter().enumerate() {
            let value: &str = row.try_get(column + 1)?;
            if setting.wanted != Some(value) {
                saved.push((setting.name, text_literal(value)));
            }
        }
        Ok(Self(saved))
    }

    /// In the session, where [`lock`] has kept them.
    fn kept(settings: &[ServerSetting]) -> Self {
        let kept = |setting: &ServerSetting| {
            let name = setting.name;
            let value = format!("NULLIF(pg_catalog.current_setting('advisory.{name}',true),'')");
            (name, value)
        };
        Self(settings.iter().map(kept).collect())
    }
}

/// Waits for the lock and gives it to the session. The first row begins with the [`pid`] and the
/// previous settings, which the session [keeps](Saved::kept) as well; the last column of the last row
/// is true.
///
/// The wait is for a transaction lock, in the message's own implicit transaction. Then the session
/// takes the lock, without a wait. A session lock whose wait fails may have been granted all the
/// same; a transaction lock ends with its transaction, so a timeout leaves nothing behind.
pub(crate) fn lock(lock: &LockId, wait: Wait, settings: &[ServerSetting]) -> String {
    format!(
        "{RESET};SELECT {},{},{};{}",
        pid_and_current_values(settings),
        keep_values(settings),
        set_values(settings),
        wait_and_take(lock, wait)
    )
}

/// Waits for a lock in a session that holds any number of locks.
pub(crate) fn queue(lock: &LockId) -> String {
    format!("{RESET};{}", wait_and_take(lock, Wait::Forever))
}

fn wait_and_take(lock: &LockId, wait: Wait) -> String {
    if let Some(semaphore) = Semaphore::of(lock) {
        let wait = semaphore.wait(wait, REFUSE_STANDBY, Reach::Session);
        let call = semaphore.call_on_slot(Function::Lock);
        return format!("{wait};SELECT {call},{SLOT},true");
    }
    let mut message = lock_with_wait(lock, wait, REFUSE_STANDBY, "");
    // A statement of its own: the server checks between two statements whether the timeout has
    // fired.
    if let Some(call) = Function::Lock.single_call(lock) {
        let _ = write!(message, ";SELECT {call},true");
        return message;
    }
    for Calls { call, rows } in Function::Lock.calls(lock) {
        let _ = write!(message, ";SELECT FROM {rows} WHERE {call} IS NULL");
    }
    message.push_str(";SELECT true");
    message
}

/// Tries the lock without waiting: all keys, or none. The first row begins with the [`pid`] and the
/// previous settings; the last column of the last row is the result.
pub(crate) fn try_lock(lock: &LockId, settings: &[ServerSetting]) -> String {
    let current = pid_and_current_values(settings);
    let mut message = format!("{RESET};SELECT {current},{REFUSE_STANDBY},");
    let settings = set_values(settings);
    if let Some(semaphore) = Semaphore::of(lock) {
        let slot = semaphore.take_any(Function::TryLock);
        // The offset keeps the slot from being taken once for each place where it is used.
        let _ = write!(
            message,
            "s.slot::pg_catalog.text,CASE WHEN s.slot IS NOT NULL THEN ({settings}) IS NOT NULL ELSE false END \
             FROM (SELECT {slot} AS slot OFFSET 0) AS s"
        );
        return message;
    }
    if let Some(call) = Function::TryLock.single_call(lock) {
        let _ = write!(
            message,
            "CASE WHEN {call} THEN ({settings}) IS NOT NULL ELSE false END"
        );
        return message;
    }
    // Transaction locks first: if one key is not granted, the others end with the implicit
    // transaction.
    let tried = Function::TryXactLock.all(lock);
    let _ = write!(
        message,
        "pg_catalog.set_config('advisory.acquired',({tried})::pg_catalog.text,true)"
    );
    call_if_granted(&mut message, Function::Lock, lock);
    let _ = write!(
        message,
        ";SELECT CASE WHEN {GRANTED} THEN ({settings}) IS NOT NULL ELSE false END"
    );
    message
}

/// Releases the lock and restores the settings. One row: whether every key was held, and whether a
/// transaction is open.
pub(crate) fn unlock(lock: &LockId, saved: &Saved) -> String {
    let released = Function::Unlock.all(saved.slot.as_ref().unwrap_or(lock));
    let mut message = format!("SELECT {released},{IN_TRANSACTION}");
    for (name, value) in &saved.settings.0 {
        let _ = write!(message, ",pg_catalog.set_config('{name}',{value},false)");
    }
    message
}

/// Locks the key of a pooler probe in this session. The last row is the server.
pub(crate) fn leave_probe(probe: &LockId) -> String {
    let call = Function::TryLock.all(probe);
    format!("{RESET};SELECT {SERVER_IN_ALL_SESSIONS},{call}")
}

/// Looks for the key of a pooler probe. One row: whether a session holds it; whether this session
/// held it and has released it; and the server.
pub(crate) fn find_probe(probe: &LockId) -> String {
    let (classid, objid, objsubid) = probe.keys()[0].to_pg_locks();
    let unlock = Function::Unlock.all(probe);
    format!(
        "WITH l AS MATERIALIZED(SELECT l.pid FROM {LOCKS} AS l \
         WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' \
         AND l.classid OPERATOR(pg_catalog.=) '{classid}'::pg_catalog.oid \
         AND l.objid OPERATOR(pg_catalog.=) '{objid}'::pg_catalog.oid \
         AND l.objsubid OPERATOR(pg_catalog.=) '{objsubid}'::pg_catalog.int2) \
         SELECT EXISTS(SELECT FROM l),CASE WHEN EXISTS(SELECT FROM l \
         WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) THEN {unlock} ELSE false END,\
         {SERVER_IN_ALL_SESSIONS}"
    )
}

fn pid_and_current_values(settings: &[ServerSetting]) -> String {
    let values = join(settings, |ServerSetting { name, .. }| {
        format!("pg_catalog.current_setting('{name}')")
    });
    format!("pg_catalog.pg_backend_pid(),{values}")
}

fn keep_values(settings: &[ServerSetting]) -> String {
    join(settings, |ServerSetting { name, .. }| {
        format!(
            "pg_catalog.set_config('advisory.{name}',pg_catalog.current_setting('{name}'),false)"
        )
    })
}

fn set_values(settings: &[ServerSetting]) -> String {
    join(settings, |ServerSetting { name, value, .. }| {
        format!("pg_catalog.set_config('{name}',{value},false)")
    })
}

fn join(settings: &[ServerSetting], item: impl Fn(&ServerSetting) -> String) -> String {
    settings.iter().map(item).collect::<Vec<_>>().join(",")
}
