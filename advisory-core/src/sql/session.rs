//! The messages for a lock that a session holds, or a transaction that stands for one.

use std::fmt::Write as _;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::application_name;
use super::call::{Calls, Function, text_literal};
use super::permits::{self, Reach, SLOT, Semaphore};
use super::sqlstate;
use super::tcp_keepalive::TcpKeepalive;
use super::transaction::{
    BEGIN, GRANTED, READ_COMMITTED, RESET, call_if_granted, lock_with_wait, try_all_or_none,
};
use super::{
    ClientCheck, IN_TRANSACTION, LOCK_TIMEOUT, LOCKS, REFUSE_STANDBY, SERVER_IN_ALL_SESSIONS,
};
use crate::lock::{LockId, Wait};
use crate::time_bounds::CLIENT_CHECK_INTERVAL;

/// What holds a lock that outlives its message.
///
/// Everything that depends on it is in this file: how a message takes the lock, with which
/// settings, and how another one releases it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockLevel {
    /// The session.
    Session,
    /// An idle transaction, where a pooler lends a session for a transaction at a time. It is `READ
    /// COMMITTED`, so that it has no snapshot, and it writes nothing, so that `VACUUM` does not
    /// wait for it. When it ends, nothing is left on the session that the pooler lends to the next
    /// client.
    Transaction,
}

impl LockLevel {
    /// Whether an error of a message has ended the lock: every error ends a transaction.
    pub(crate) fn is_ended_by(self, error: &sqlx::Error) -> bool {
        self == Self::Transaction || sqlstate::is_loss(error)
    }
}

/// A setting of a session, for as long as the session holds a lock.
struct ServerSetting {
    name: &'static str,
    /// The value it gets; an expression.
    value: String,
    /// What `current_setting` reports if the value is already as wanted; such a setting is not
    /// restored.
    wanted: Option<String>,
}

impl ServerSetting {
    /// A setting whose value is the literal that `current_setting` reports.
    fn constant(name: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        Self {
            name,
            value: format!("'{value}'"),
            wanted: Some(value),
        }
    }
}

/// The settings of what holds a lock. At the level of the session, the message that takes the lock
/// returns their previous values, and the one that releases it restores them. At the level of the
/// transaction they end with it.
pub(crate) struct HolderSettings {
    level: LockLevel,
    settings: Vec<ServerSetting>,
}

impl HolderSettings {
    /// A session that holds a lock is idle by design, so no timeout for that must end it. It checks
    /// whether its client is there, in the middle of a statement too, and with `keepalive` whether
    /// its client's machine is. `tag` goes into its `application_name`.
    pub(crate) fn new(
        level: LockLevel,
        check: ClientCheck,
        keepalive: &TcpKeepalive,
        tag: Option<&str>,
    ) -> Self {
        let idle_timeout = match level {
            LockLevel::Session => "idle_session_timeout",
            LockLevel::Transaction => "idle_in_transaction_session_timeout",
        };
        let mut settings = vec![
            ServerSetting::constant(idle_timeout, "0"),
            ServerSetting {
                name: "client_connection_check_interval",
                value: check.interval(),
                wanted: Some(CLIENT_CHECK_INTERVAL.to_owned()),
            },
        ];
        if check.may_be_over_tcp() {
            let keepalives = keepalive.values().into_iter();
            settings.extend(keepalives.map(|(name, value)| ServerSetting::constant(name, value)));
        }
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
        Self { level, settings }
    }

    pub(crate) fn level(&self) -> LockLevel {
        self.level
    }

    /// Whether the release has to know which of several slots is held. A transaction releases its
    /// own.
    fn names_slot_of(&self, lock: &LockId) -> bool {
        self.level == LockLevel::Session && lock.semaphore().is_some()
    }

    /// The process id of the backend, and the values to restore; items of a target list.
    fn pid_and_current_values(&self) -> String {
        let mut columns = "pg_catalog.pg_backend_pid()".to_owned();
        if self.level == LockLevel::Session {
            for ServerSetting { name, .. } in &self.settings {
                let _ = write!(columns, ",pg_catalog.current_setting('{name}')");
            }
        }
        columns
    }

    /// Keeps the values to restore in the session; items of a target list.
    fn keep_values(&self) -> String {
        join(&self.settings, |ServerSetting { name, .. }| {
            format!(
                "pg_catalog.set_config('advisory.{name}',pg_catalog.current_setting('{name}'),false)"
            )
        })
    }

    /// Items of a target list.
    fn set_values(&self) -> String {
        let is_local = self.level == LockLevel::Transaction;
        let mut set = join(&self.settings, |ServerSetting { name, value, .. }| {
            format!("pg_catalog.set_config('{name}',{value},{is_local})")
        });
        if is_local {
            let _ = write!(set, ",{}", switch_off_transaction_timeout(is_local));
        }
        set
    }
}

/// Switches off a limit that PostgreSQL has from version 17 on; an expression.
pub(super) fn switch_off_transaction_timeout(is_local: bool) -> String {
    format!(
        "CASE WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 OPERATOR(pg_catalog.>=) 170000 \
         THEN pg_catalog.set_config('transaction_timeout','0',{is_local}) END"
    )
}

fn join(settings: &[ServerSetting], item: impl Fn(&ServerSetting) -> String) -> String {
    settings.iter().map(item).collect::<Vec<_>>().join(",")
}

/// What was granted a lock, with what the release needs.
#[derive(Debug)]
pub(crate) struct LockHolder {
    /// The process id of its backend.
    pub(crate) pid: i32,
    pub(crate) level: LockLevel,
    /// The settings to restore, with the values that they had before; expressions.
    saved: Vec<(&'static str, String)>,
    /// What a session has of a lock with several permits.
    slot: Option<LockId>,
}

/// Asks for what a message has [kept](lock) whose rows are lost. One row, read by
/// [`LockHolder::asked`].
pub(crate) fn ask_again(lock: &LockId, settings: &HolderSettings) -> String {
    let slot = if settings.names_slot_of(lock) {
        SLOT
    } else {
        "''"
    };
    format!("SELECT pg_catalog.pg_backend_pid(),{slot}")
}

impl LockHolder {
    /// From the rows of [`lock`] or [`try_lock`]. The first one begins with the process id and the
    /// settings. In the last one, the slot of a lock with several permits stands before the result,
    /// if a session holds it.
    pub(crate) fn read(
        lock: &LockId,
        settings: &HolderSettings,
        rows: &[PgRow],
    ) -> Result<Self, sqlx::Error> {
        let (Some(row), Some(last)) = (rows.first(), rows.last()) else {
            return Err(sqlx::Error::RowNotFound);
        };
        let slot = settings
            .names_slot_of(lock)
            .then(|| read_slot(lock, last, last.len().saturating_sub(2)))
            .transpose()?;
        let mut saved = Vec::new();
        if settings.level == LockLevel::Session {
            for (column, setting) in settings.settings.iter().enumerate() {
                let value: &str = row.try_get(column + 1)?;
                if setting.wanted.as_deref() != Some(value) {
                    saved.push((setting.name, text_literal(value)));
                }
            }
        }
        Ok(Self {
            pid: row.try_get(0)?,
            level: settings.level,
            saved,
            slot,
        })
    }

    /// From the row of [`ask_again`]. The values to restore are in the session, where [`lock`] has
    /// kept them.
    pub(crate) fn asked(
        lock: &LockId,
        settings: &HolderSettings,
        row: &PgRow,
    ) -> Result<Self, sqlx::Error> {
        let slot = settings
            .names_slot_of(lock)
            .then(|| read_slot(lock, row, 1))
            .transpose()?;
        let kept = |setting: &ServerSetting| {
            let name = setting.name;
            let value = format!("NULLIF(pg_catalog.current_setting('advisory.{name}',true),'')");
            (name, value)
        };
        let saved = match settings.level {
            LockLevel::Session => settings.settings.iter().map(kept).collect(),
            LockLevel::Transaction => Vec::new(),
        };
        Ok(Self {
            pid: row.try_get(0)?,
            level: settings.level,
            saved,
            slot,
        })
    }

    /// Releases the lock and restores the settings. One row: whether every key was held, and
    /// whether a transaction is open that is not ours.
    pub(crate) fn unlock(&self, lock: &LockId) -> String {
        let Self {
            pid,
            level,
            saved,
            slot,
        } = self;
        if *level == LockLevel::Transaction {
            // A transaction lock is held as long as its transaction, which nobody else can end.
            return format!(
                "SELECT {IN_TRANSACTION} AND pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) '{pid}',\
                 false;COMMIT"
            );
        }
        let released = Function::Unlock.all(slot.as_ref().unwrap_or(lock));
        let mut message = format!("SELECT {released},{IN_TRANSACTION}");
        for (name, value) in saved {
            let _ = write!(message, ",pg_catalog.set_config('{name}',{value},false)");
        }
        message
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

/// Waits for the lock and gives it to its holder. The rows are read by [`LockHolder::read`]; the
/// last column of the last row is true.
///
/// The wait is for a transaction lock, in the message's own implicit transaction. Then the session
/// takes the lock, without a wait, or the transaction is made explicit. A session lock whose wait
/// fails may have been granted all the same; a transaction lock ends with its transaction, so a
/// timeout leaves nothing behind.
pub(crate) fn lock(lock: &LockId, wait: Wait, settings: &HolderSettings) -> String {
    let (current, set) = (settings.pid_and_current_values(), settings.set_values());
    match settings.level {
        LockLevel::Session => {
            let (keep, wait) = (settings.keep_values(), wait_and_take(lock, wait));
            format!("{RESET};SELECT {current},{keep},{set};{wait}")
        }
        LockLevel::Transaction => {
            let wait = lock_with_wait(lock, wait, REFUSE_STANDBY, "");
            format!("{RESET};{READ_COMMITTED};SELECT {current},{set};{wait};SELECT true;{BEGIN}")
        }
    }
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

/// Tries the lock without waiting: all keys, or none. The rows are read by [`LockHolder::read`];
/// the last column of the last row is the result. At the level of the transaction, the transaction
/// is open in either case.
pub(crate) fn try_lock(lock: &LockId, settings: &HolderSettings) -> String {
    let (current, set) = (settings.pid_and_current_values(), settings.set_values());
    if settings.level == LockLevel::Transaction {
        let tried = try_all_or_none(lock, "");
        return format!(
            "{RESET};{READ_COMMITTED};SELECT {current},{REFUSE_STANDBY},{set};{tried};{BEGIN}"
        );
    }
    let mut message = format!("{RESET};SELECT {current},{REFUSE_STANDBY},");
    if let Some(semaphore) = Semaphore::of(lock) {
        // Target lists are evaluated from left to right.
        let slot = semaphore.keep_any(Function::TryLock);
        let _ = write!(
            message,
            "{slot},CASE WHEN {SLOT} OPERATOR(pg_catalog.<>) '' THEN ({set}) IS NOT NULL ELSE false END"
        );
        return message;
    }
    if let Some(call) = Function::TryLock.single_call(lock) {
        let _ = write!(
            message,
            "CASE WHEN {call} THEN ({set}) IS NOT NULL ELSE false END"
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
        ";SELECT CASE WHEN {GRANTED} THEN ({set}) IS NOT NULL ELSE false END"
    );
    message
}

/// Whether this message belongs to a transaction that an earlier one has begun. One row.
pub(crate) fn is_in_transaction() -> String {
    format!("SELECT {IN_TRANSACTION}")
}

/// The `lock_timeout`. One row, read by [`read_lock_timeout`].
pub(crate) fn lock_timeout() -> String {
    format!("SELECT {LOCK_TIMEOUT}")
}

/// In milliseconds; 0 if there is none.
pub(crate) fn read_lock_timeout(row: &PgRow) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
}

/// Locks the key of a pooler probe in this session, once. The last row is the server.
pub(crate) fn leave_probe(probe: &LockId) -> String {
    let (locks, call) = (probe_locks(probe), Function::TryLock.all(probe));
    format!(
        "{RESET};SELECT {SERVER_IN_ALL_SESSIONS},CASE WHEN NOT EXISTS({locks} \
         AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) THEN {call} END"
    )
}

/// Looks for the key of a pooler probe. One row: whether a session holds it; whether this session
/// held it and has released it; and the server.
pub(crate) fn find_probe(probe: &LockId) -> String {
    let (locks, unlock) = (probe_locks(probe), Function::Unlock.all(probe));
    format!(
        "WITH l AS MATERIALIZED({locks}) \
         SELECT EXISTS(SELECT FROM l),CASE WHEN EXISTS(SELECT FROM l \
         WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) THEN {unlock} ELSE false END,\
         {SERVER_IN_ALL_SESSIONS}"
    )
}

/// The sessions that hold the key of a pooler probe; a query.
fn probe_locks(probe: &LockId) -> String {
    let (classid, objid, objsubid) = probe.keys()[0].to_pg_locks();
    format!(
        "SELECT l.pid FROM {LOCKS} AS l \
         WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' \
         AND l.classid OPERATOR(pg_catalog.=) '{classid}'::pg_catalog.oid \
         AND l.objid OPERATOR(pg_catalog.=) '{objid}'::pg_catalog.oid \
         AND l.objsubid OPERATOR(pg_catalog.=) '{objsubid}'::pg_catalog.int2"
    )
}
