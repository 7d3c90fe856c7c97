//! A session that is about to be ended, and what it has to do with locks.

use advisory_core::monitor::{self, LockStatus};
use sqlx::postgres::PgPool;

use super::{How, holding};
use crate::exit::Failure;
use crate::output;

/// A session as it was looked at.
pub(super) struct Victim {
    pub(super) pid: i32,
    /// At least one.
    pub(super) locks: Vec<LockStatus>,
}

impl Victim {
    pub(super) fn prepared(&self) -> Option<&str> {
        self.locks.iter().find_map(|lock| lock.prepared.as_deref())
    }

    /// Whether it runs nothing; false if that is hidden.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.locks.iter().find_map(|lock| lock.state.as_deref());
        state.is_some_and(|state| state.starts_with("idle"))
    }

    pub(super) fn waits(&self) -> bool {
        self.locks.iter().any(|lock| !lock.granted)
    }

    pub(super) fn user(&self) -> &str {
        let user = self.locks.iter().find_map(|lock| lock.user.as_deref());
        user.unwrap_or("?")
    }

    pub(super) fn database(&self) -> &str {
        self.locks.first().map_or("", |lock| &lock.database)
    }

    /// `42, 43`
    pub(super) fn locks(&self) -> String {
        let locks: Vec<_> = self.locks.iter().map(holding::name).collect();
        locks.join(", ")
    }

    /// Whether it still is where it was. Who waited and waits no more has the lock, and works under it: that was not meant to be
    /// cancelled.
    pub(super) async fn is_unchanged(&self, pool: &PgPool, how: How) -> Result<bool, Failure> {
        let now = monitor::locks_of_all_databases(pool).await?;
        let must_wait = self.waits() && how == How::Cancel;
        let mut same = now.iter().filter(|now| self.had(now));
        Ok(same.any(|now| !must_wait || !now.granted))
    }

    /// Whether a row is one of those that were looked at, later.
    pub(super) fn had(&self, now: &LockStatus) -> bool {
        self.locks.iter().any(|lock| is_same(lock, now))
    }
}

fn is_same(before: &LockStatus, now: &LockStatus) -> bool {
    let identity = |lock: &LockStatus| {
        (
            lock.pid,
            lock.database.clone(),
            lock.key,
            lock.mode,
            lock.granted,
        )
    };
    // Another session with its number is younger; hidden, neither is known.
    identity(before) == identity(now) && before.connected_since <= now.connected_since
}

/// A line for each lock.
pub(super) fn show(victims: &[Victim]) -> Result<(), Failure> {
    let mut table = output::table();
    table.set_header([
        "PID",
        "APPLICATION",
        "USER",
        "CLIENT",
        "DATABASE",
        "STATE",
        "DOES",
        "KEY",
    ]);
    for lock in victims.iter().flat_map(|victim| &victim.locks) {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        table.add_row([
            lock.pid.to_string(),
            or_none(&lock.application),
            or_none(&lock.user),
            or_none(&lock.client),
            lock.database.clone(),
            or_none(&lock.state),
            holding::doing(lock),
            holding::name(lock),
        ]);
    }
    for line in table.lines() {
        output::line(line.trim_end())?;
    }
    Ok(())
}
