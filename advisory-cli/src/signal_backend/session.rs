//! A session, and the advisory locks that it holds or waits for.

use std::collections::BTreeMap;

use advisory_core::monitor::{self, LockStatus};
use advisory_core::{Key, Mode};
use sqlx::postgres::PgPool;

use super::action::Action;
use crate::exit::{Code, Failure, describe_lock_error};
use crate::group;
use crate::lock_status::{LockId, application, lock_id, session_id};
use crate::output::{self, printable};

/// A session with its locks at the time of the search.
pub(super) struct Session {
    pub(super) pid: i32,
    /// At least one, in the order of `row_id`.
    pub(super) locks: Vec<LockStatus>,
    /// The queue for a permit, if the lock was selected that has several.
    pub(super) queue: Option<Key>,
}

impl Session {
    /// Groups locks by session. Prepared transactions, whose process id is 0, differ in their
    /// names.
    pub(super) fn group(locks: impl IntoIterator<Item = LockStatus>) -> Vec<Self> {
        let mut sessions: BTreeMap<_, Vec<LockStatus>> = BTreeMap::new();
        for lock in locks {
            let (pid, prepared) = session_id(&lock);
            let id = (pid, prepared.map(str::to_owned));
            sessions.entry(id).or_default().push(lock);
        }
        let sessions = sessions.into_iter();
        sessions
            .map(|((pid, _), mut locks)| {
                locks.sort_by(|a, b| row_id(a).cmp(&row_id(b)));
                Self {
                    pid,
                    locks,
                    queue: None,
                }
            })
            .collect()
    }

    /// Refuses an action that cannot have an effect.
    pub(super) fn check(self, action: Action) -> Result<Self, Failure> {
        let (pid, locks) = (self.pid, self.lock_names());
        if let (_, Some(prepared)) = session_id(&self.locks[0]) {
            let (prepared, database) = (printable(prepared), printable(&self.locks[0].database));
            let quoted = prepared.replace('\'', "''");
            return Err(Failure::other(format!(
                "the prepared transaction `{prepared}` holds {locks}, and has no session; \
                 end it with `ROLLBACK PREPARED '{quoted}'` in database `{database}`"
            )));
        }
        if action == Action::Cancel && self.is_idle() {
            return Err(Failure::other(format!(
                "pid {pid} holds {locks} and is idle: there is nothing to cancel; \
                 `advisory terminate {pid}` ends its session"
            )));
        }
        Ok(self)
    }

    /// Whether the session runs no statement. False if the role may not see its state.
    fn is_idle(&self) -> bool {
        let state = self.locks.iter().find_map(|lock| lock.state.as_deref());
        state.is_some_and(|state| state.starts_with("idle"))
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.locks.iter().any(|lock| self.waits_for(lock))
    }

    /// The first in the queue for a permit has the queue's lock, and waits all the same.
    pub(super) fn waits_for(&self, lock: &LockStatus) -> bool {
        !lock.granted || self.queue == Some(lock.key)
    }

    /// `42, 43`
    pub(super) fn lock_names(&self) -> String {
        list(&self.locks.iter().collect::<Vec<_>>())
    }

    /// Sends the signal. Returns false if the session no longer holds or waits for these locks. A
    /// session that was granted the lock since then is not cancelled: the user wanted to end its
    /// wait, and not its work.
    pub(super) async fn signal(&self, pool: &PgPool, action: Action) -> Result<bool, Failure> {
        let now = monitor::locks_of_all_databases(pool).await?;
        let may_hold = !self.is_waiting() || action != Action::Cancel;
        let is_unchanged = |now: &LockStatus| self.had(now) && (may_hold || self.waits_for(now));
        if !now.iter().any(is_unchanged) {
            return Ok(false);
        }
        let sent = action.send(pool, self.pid).await;
        match sent.map_err(|error| self.signal_failure(action, error)) {
            // The signal may have arrived: what became of the session shows it.
            Err(failure) if failure.is_connection_lost() => Ok(true),
            sent => sent,
        }
    }

    fn signal_failure(&self, action: Action, error: advisory_core::Error) -> Failure {
        let cause = describe_lock_error(&error);
        let failure = Failure::from(error);
        if failure.code() != Code::Forbidden {
            return failure;
        }
        let (verb, pid) = (action.verb(), self.pid);
        let owner = self.locks.iter().find_map(|lock| lock.user.as_deref());
        let owner = printable(owner.unwrap_or("?"));
        let message = format!(
            "this role may not {verb} pid {pid} of role `{owner}` ({cause}); do it as `{owner}`, \
             as a member of `pg_signal_backend` if `{owner}` is no superuser, or as a superuser"
        );
        Failure::new(Code::Forbidden, message)
    }

    /// Whether a row that was read later is one of these locks.
    pub(super) fn had(&self, now: &LockStatus) -> bool {
        let order = |lock: &LockStatus| row_id(lock).cmp(&row_id(now));
        let found = match self.locks.binary_search_by(order) {
            Ok(index) => Some(&self.locks[index]),
            // It was behind in the queue, and is the first one now.
            Err(_) if self.queue == Some(now.key) => {
                let mut locks = self.locks.iter();
                locks.find(|lock| lock_id(lock) == lock_id(now))
            }
            Err(_) => None,
        };
        // A later session with the same pid is younger. If the times are hidden, both are `None`.
        now.pid == self.pid && found.is_some_and(|lock| lock.session_age <= now.session_age)
    }
}

/// Identifies a row among those of its session. Holders come before waiters.
fn row_id(lock: &LockStatus) -> (LockId<'_>, bool, Mode) {
    (lock_id(lock), !lock.granted, lock.mode)
}

/// `42, 43`. Many locks are listed without the tag of their session.
fn list(locks: &[&LockStatus]) -> String {
    let name = if locks.len() > group::MANY {
        |lock: &&LockStatus| lock.key.to_string()
    } else {
        |lock: &&LockStatus| lock_name(lock)
    };
    group::list(locks.iter().map(name))
}

/// The key of the lock, and the name with which the session is tagged.
fn lock_name(lock: &LockStatus) -> String {
    match lock.tag() {
        Some(tag) => format!("{} (`{}`)", lock.key, printable(&tag)),
        None => lock.key.to_string(),
    }
}

/// `waits 3.2 s`, `holds, shared`
fn describe(session: &Session, lock: &LockStatus) -> String {
    let verb = match lock.waiting_for {
        _ if !session.waits_for(lock) => "holds".to_owned(),
        Some(duration) => format!("waits {:.1} s", duration.as_secs_f64()),
        None => "waits".to_owned(),
    };
    match lock.mode {
        Mode::Exclusive => verb,
        Mode::Shared => format!("{verb}, shared"),
    }
}

/// Prints a line for each lock of each session, and one line for many.
pub(super) fn print(sessions: &[Session]) -> Result<(), Failure> {
    let mut table = output::new_table();
    table.set_header("PID APPLICATION USER CLIENT DATABASE STATE DOES KEY".split(' '));
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let locks = sessions.iter().flat_map(|session| {
        let locks = session.locks.iter();
        locks.map(move |lock| (session, lock))
    });
    for alike in group::group(locks, |(_, lock)| {
        Some((session_id(lock), lock.mode, lock.granted))
    }) {
        let (session, lock) = alike[0];
        let locks: Vec<_> = alike.into_iter().map(|(_, lock)| lock).collect();
        let row = [
            lock.pid.to_string(),
            or_dash(&application(lock)),
            or_dash(&lock.user),
            or_dash(&lock.client_addr),
            lock.database.clone(),
            or_dash(&lock.state),
            describe(session, lock),
            list(&locks),
        ];
        table.add_row(row.map(|cell| printable(&cell)));
    }
    output::print_table(&table)
}
