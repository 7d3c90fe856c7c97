//! The messages of a session that holds any number of locks.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::num::ParseIntError;

use sqlx::postgres::PgRow;
use sqlx::{Row as _, ValueRef as _};

use super::call::{Calls, Function, text_literal};
use super::origin::{mark, process};
use super::permits::Semaphore;
use super::session::switch_off_transaction_timeout;
use super::tcp_keepalive::TcpKeepalive;
use super::transaction::RESET;
use super::{BACKEND_START, ClientCheck, LOCK_TIMEOUT, REFUSE_STANDBY};
use crate::key::Key;
use crate::lock::{LockId, Mode};

/// Prepares a session that nobody else uses, so nothing is restored. Fails on a standby. One row,
/// read by [`Opened::read`].
pub(crate) fn open(check: ClientCheck, keepalive: &TcpKeepalive) -> String {
    let interval = check.interval();
    let settings = [
        ("idle_session_timeout", "'0'"),
        ("client_connection_check_interval", &interval),
        // Statements do not wait for a lock, and an error in one would stop all that travel with
        // it.
        ("statement_timeout", "'0'"),
        // An unlock that finds nothing is an answer, and no reason for a warning.
        ("client_min_messages", "'error'"),
    ];
    let mut message = format!(
        "{RESET};SELECT {REFUSE_STANDBY},pg_catalog.pg_backend_pid(),\
         (SELECT {BACKEND_START} FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS a),\
         {LOCK_TIMEOUT}"
    );
    for (name, value) in settings {
        let _ = write!(message, ",pg_catalog.set_config('{name}',{value},false)");
    }
    message.push_str(&keepalive.columns());
    // A wait in the server's queue is a transaction.
    let _ = write!(message, ",{}", switch_off_transaction_timeout(false));
    mark(None, &message)
}

/// The backend of a session. A process id can be used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct BackendId {
    pub(crate) pid: i32,
    start: String,
}

/// Ends a backend whose session is lost, so that its locks are free although the server has not
/// noticed. pgpool-II fails over unless the call is in the first statement of the message and its
/// argument is a bare literal.
pub(crate) fn terminate(BackendId { pid, start }: &BackendId) -> String {
    let terminate = format!(
        "SELECT pg_catalog.pg_terminate_backend({pid}) FROM pg_catalog.pg_stat_get_activity('{pid}') AS a \
         WHERE {BACKEND_START} OPERATOR(pg_catalog.=) {}",
        text_literal(start)
    );
    mark(None, &terminate)
}

/// What a session says when it is opened.
pub(crate) struct Opened {
    pub(crate) backend: BackendId,
    /// The session's `lock_timeout` in milliseconds; 0 if it waits without a limit.
    pub(crate) lock_timeout: u64,
}

impl Opened {
    pub(crate) fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            backend: BackendId {
                pid: row.try_get(1)?,
                start: row.try_get::<Option<_>, _>(2)?.unwrap_or_default(),
            },
            lock_timeout: row.try_get::<i64, _>(3)?.unsigned_abs(),
        })
    }
}

/// A call in a batch.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Unlock(Key, Mode),
    /// All keys, or none.
    Try(LockId),
}

/// A message of one call, as a statement that the session keeps prepared: the server neither parses
/// nor plans it again.
pub(crate) fn prepared(call: &Call) -> Option<(String, Key)> {
    let (function, mode, key) = match call {
        Call::Unlock(key, mode) => (Function::Unlock, *mode, *key),
        Call::Try(lock) => match lock.keys() {
            [key] => (Function::TryLock, lock.mode(), *key),
            _ => return None,
        },
    };
    let (name, arguments) = (
        function.name(mode),
        if is_pair(&key) { "$1,$2" } else { "$1" },
    );
    let process = process();
    Some((format!("SELECT /* {process} */ {name}({arguments})"), key))
}

/// A try for the first free ones of several slots.
pub(crate) struct Pick<'p> {
    pub(crate) most: usize,
    /// The key whose slots they are.
    pub(crate) key: Key,
    pub(crate) slots: &'p [Key],
    pub(crate) makes_way: bool,
}

impl Pick<'_> {
    /// The numbers of the slots, or null; an expression.
    fn expression(&self) -> String {
        let slots = Semaphore::among(self.key, self.slots.to_vec(), self.makes_way);
        slots.take_some(Function::TryLock, self.most)
    }
}

/// A message of one such try, as a statement that the session keeps prepared: for how many slots at
/// most, the turnstile, the slots and, of pairs, the first number.
pub(crate) fn prepared_pick(pick: &Pick<'_>) -> String {
    let process = process();
    let (number, first) = match pick.key {
        Key::BigInt(_) => ("int8", ""),
        Key::IntPair(..) => ("int4", "$4,"),
    };
    let probe = if pick.makes_way {
        let take = Function::TryLock.name(Mode::Shared);
        let release = Function::Unlock.name(Mode::Shared);
        format!("{take}({first}$2) AND {release}({first}$2)")
    } else {
        format!("$2::pg_catalog.{number} IS NOT NULL")
    };
    let call = Function::TryLock.name(Mode::Exclusive);
    format!(
        "SELECT /* {process} */ CASE WHEN {probe} THEN (SELECT pg_catalog.array_agg(s.k::pg_catalog.int8) FROM \
         (SELECT k FROM pg_catalog.unnest($3::pg_catalog.{number}[]) AS k WHERE {call}({first}k) LIMIT $1) AS s) END"
    )
}

/// Up to this many calls are columns of one row. More of them are rows, which cost less each.
const MOST_COLUMNS: usize = 48;

/// Calls that travel in one message, first those that unlock; then the tries for one of several
/// slots.
pub(crate) struct Batch {
    message: String,
    /// Which call each answer belongs to.
    order: Vec<usize>,
    picks: usize,
}

impl Batch {
    pub(crate) fn new(calls: &[Call], picks: &[Pick<'_>]) -> Self {
        let mut order: Vec<_> = (0..calls.len()).collect();
        let mut message = String::new();
        if calls.len() <= MOST_COLUMNS {
            write_columns(&mut message, calls.iter().map(Call::expression));
        } else {
            order.sort_by_key(|index| calls[*index].kind());
            for kind in order.chunk_by(|one, next| calls[*one].kind() == calls[*next].kind()) {
                let calls = kind.iter().map(|index| &calls[*index]);
                write_calls_of_one_kind(&mut message, calls);
            }
        }
        for (index, pick) in picks.iter().enumerate() {
            let before = match index % MOST_COLUMNS {
                0 if message.is_empty() => "SELECT ",
                0 => ";SELECT ",
                _ => ",",
            };
            message.push_str(before);
            message.push_str(&pick.expression());
        }
        Self {
            message: mark(None, &message),
            order,
            picks: picks.len(),
        }
    }

    /// Asks in the same message who waits in the server's queue. The answer is read by
    /// [`Waits::read`].
    #[must_use]
    pub(crate) fn looking(mut self) -> Self {
        if !self.order.is_empty() || self.picks > 0 {
            self.message.push(';');
        }
        self.message.push_str(WAITS);
        self
    }

    pub(crate) fn into_message(self) -> (String, AnswerOrder) {
        let order = AnswerOrder {
            calls: self.order,
            picks: self.picks,
        };
        (self.message, order)
    }
}

/// In which order the server answers the calls of a batch.
pub(crate) struct AnswerOrder {
    calls: Vec<usize>,
    picks: usize,
}

impl AnswerOrder {
    /// The answers, in the order of the calls.
    pub(crate) fn read(&self, rows: &[PgRow]) -> Result<Vec<bool>, sqlx::Error> {
        let mut answers = vec![false; self.calls.len()];
        let mut order = self.calls.iter();
        for row in rows {
            for column in 0..row.len() {
                let value = row.try_get_raw(column)?;
                if value.is_null() {
                    continue;
                }
                for answer in value.as_bytes().map_err(sqlx::Error::Decode)? {
                    let Some(index) = order.next() else {
                        return Ok(answers);
                    };
                    answers[*index] = *answer == b't';
                }
            }
        }
        match order.next() {
            None => Ok(answers),
            Some(_) => Err(sqlx::Error::RowNotFound),
        }
    }

    /// The numbers of the slots that were picked, which end the rows of the batch.
    pub(crate) fn read_picks(&self, rows: &[PgRow]) -> Result<Vec<Vec<i64>>, sqlx::Error> {
        let first = rows.len().checked_sub(self.picks.div_ceil(MOST_COLUMNS));
        let rows = &rows[first.ok_or(sqlx::Error::RowNotFound)?..];
        let columns = rows
            .iter()
            .flat_map(|row| (0..row.len()).map(move |column| (row, column)));
        let read = |(row, column): (&PgRow, usize)| {
            let numbers: Option<&str> = row.try_get_unchecked(column)?;
            let numbers = numbers.unwrap_or_default().trim_matches(['{', '}']);
            let numbers: Result<_, ParseIntError> =
                numbers.split_terminator(',').map(str::parse).collect();
            numbers.map_err(|error| sqlx::Error::Decode(Box::new(error)))
        };
        columns.map(read).collect()
    }
}

/// Calls of one kind can be made over rows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Unlock(Mode, bool),
    Try(Mode, bool),
    TryAll,
}

impl Call {
    fn kind(&self) -> Kind {
        match self {
            Self::Unlock(key, mode) => Kind::Unlock(*mode, is_pair(key)),
            Self::Try(lock) => match lock.keys() {
                [key] => Kind::Try(lock.mode(), is_pair(key)),
                _ => Kind::TryAll,
            },
        }
    }

    /// An expression that is true or false.
    fn expression(&self) -> String {
        match self {
            Self::Unlock(key, mode) => Function::Unlock.call(*key, *mode),
            Self::Try(lock) => match lock.keys() {
                [key] => Function::TryLock.call(*key, lock.mode()),
                // Transaction locks first: if one key is not granted, the others end with the
                // message. The session takes over what it has.
                _ => format!(
                    "CASE WHEN {} THEN {} ELSE false END",
                    Function::TryXactLock.all(lock),
                    Function::TryLock.all(lock)
                ),
            },
        }
    }

    fn key(&self) -> Option<Key> {
        match self {
            Self::Unlock(key, _) => Some(*key),
            Self::Try(lock) => lock.keys().first().copied(),
        }
    }
}

fn is_pair(key: &Key) -> bool {
    matches!(key, Key::IntPair(..))
}

fn write_columns(message: &mut String, columns: impl Iterator<Item = String>) {
    for (index, column) in columns.enumerate() {
        let before = match index % MOST_COLUMNS {
            0 if message.is_empty() => "SELECT ",
            0 => ";SELECT ",
            _ => ",",
        };
        message.push_str(before);
        message.push_str(&column);
    }
}

/// One row: a letter for each call, in the order of the array.
fn write_calls_of_one_kind<'c>(
    message: &mut String,
    calls: impl Iterator<Item = &'c Call> + Clone,
) {
    let Some(kind) = calls.clone().next().map(Call::kind) else {
        return;
    };
    let (function, mode) = match kind {
        Kind::Unlock(mode, _) => (Function::Unlock, mode),
        Kind::Try(mode, _) => (Function::TryLock, mode),
        Kind::TryAll => return write_columns(message, calls.map(Call::expression)),
    };
    let keys: Vec<_> = calls.filter_map(Call::key).collect();
    for Calls { call, rows } in function.calls_of(&keys, mode) {
        if !message.is_empty() {
            message.push(';');
        }
        let _ = write!(
            message,
            "SELECT pg_catalog.string_agg(CASE WHEN {call} THEN 't' ELSE 'f' END,'') FROM {rows}"
        );
    }
}

/// The requests of this database that wait, in one row.
const WAITS: &str = "SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ',l.pid,l.mode,l.classid,l.objid,l.objsubid),',') \
     FROM pg_catalog.pg_lock_status() AS l JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) l.database \
     WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND NOT l.granted \
     AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()";

/// The requests that wait in the server's queue.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    /// The keys for which exclusive requests wait.
    pub(crate) exclusive: BTreeSet<Key>,
    /// The process ids of those who wait.
    pub(crate) pids: BTreeSet<i32>,
}

impl Waits {
    /// Reads what [`Batch::looking`] has asked for.
    pub(crate) fn read(rows: &[PgRow]) -> Result<Self, sqlx::Error> {
        let last = rows.last().ok_or(sqlx::Error::RowNotFound)?;
        let text: Option<&str> = last.try_get(0)?;
        let mut waits = Self::default();
        for wait in text.unwrap_or_default().split(',') {
            let mut columns = wait.split(' ');
            let pid = columns.next().and_then(|pid| pid.parse::<i32>().ok());
            waits.pids.extend(pid);
            let is_exclusive = columns.next() == Some("ExclusiveLock");
            let mut key = || {
                let (classid, objid) = (columns.next()?, columns.next()?);
                let objsubid = columns.next()?.parse().ok()?;
                Key::from_pg_locks(classid.parse().ok()?, objid.parse().ok()?, objsubid)
            };
            if is_exclusive {
                waits.exclusive.extend(key());
            }
        }
        Ok(waits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pgpool_understands_the_end_of_a_lost_session() {
        let backend = BackendId {
            pid: 7,
            start: "1.5".to_owned(),
        };
        let message = terminate(&backend);
        let (comment, statement) = message.split_once(';').unwrap();
        assert!(comment.starts_with("/*"), "{message}");
        let call = "SELECT pg_catalog.pg_terminate_backend(7) FROM ";
        assert!(statement.starts_with(call), "{message}");
        assert!(!statement.contains(';'), "{message}");
    }
}
