//! The sessions that the command line selects.

use advisory_core::monitor;
use clap::{ArgGroup, Args, value_parser};
use sqlx::postgres::PgPool;

use super::action::Action;
use super::session::Session;
use crate::exit::Failure;
use crate::slot::Slot;
use crate::target::{Reading, Wanted};

/// Selects sessions by their process ids, or by a lock.
#[derive(Args)]
#[command(group(ArgGroup::new("which").required(true).args(["pids", "name"])))]
pub(super) struct Selection {
    /// Process ids, as `advisory ls` shows them, of any database of the server. Each must hold or
    /// wait for an advisory lock.
    #[arg(value_name = "PID", value_parser = value_parser!(i32).range(0..), conflicts_with_all = ["name", "key_scheme", "key", "waiters", "holders"])]
    pids: Vec<i32>,
    /// The sessions that wait for the lock of this name (`cancel`), or that hold it (`terminate`),
    /// with any of its permits. The name is one that `advisory ls` shows, such as
    /// `slot 3 of export`, or that a scheme makes the key from.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    reading: Reading,
    /// With `--name`: the sessions that wait for the lock. This is the default of `cancel`.
    #[arg(long, requires = "name")]
    waiters: bool,
    /// With `--name`: the sessions that hold the lock. This is the default of `terminate`.
    #[arg(long, requires = "name")]
    holders: bool,
}

/// The sessions, and a failure for each part of the selection that matches none.
type Found = Vec<Result<Session, Failure>>;

impl Selection {
    pub(super) async fn find(self, pool: &PgPool, action: Action) -> Result<Found, Failure> {
        let Some(name) = self.name else {
            return find_by_pids(pool, self.pids).await;
        };
        let wanted = self.reading.read(&name)?;
        let (waiters, holders) = match (self.waiters, self.holders) {
            (false, false) => (action == Action::Cancel, action == Action::Terminate),
            given => given,
        };
        find_by_lock(pool, wanted, waiters, holders).await
    }
}

async fn find_by_pids(pool: &PgPool, mut pids: Vec<i32>) -> Result<Found, Failure> {
    let locks = monitor::locks_of_all_databases(pool).await?;
    pids.sort_unstable();
    pids.dedup();
    let mut found = Vec::new();
    for pid in pids {
        let sessions = Session::group(locks.iter().filter(|lock| lock.pid == pid).cloned());
        if sessions.is_empty() {
            found.push(Err(Failure::other(match pid {
                0 => "no prepared transaction holds an advisory lock".to_owned(),
                pid => format!("pid {pid} holds no advisory lock and waits for none"),
            })));
        }
        found.extend(sessions.into_iter().map(Ok));
    }
    Ok(found)
}

async fn find_by_lock(
    pool: &PgPool,
    mut wanted: Wanted,
    waiters: bool,
    holders: bool,
) -> Result<Found, Failure> {
    let mut locks = monitor::locks(pool).await?;
    let lock = wanted.lock_among(&locks, pool).await?;
    // Of a lock with several permits, the holders have slots, and the waiters are in the queue.
    locks.retain(|row| {
        let mut slots = lock.keys().iter().filter_map(|key| Slot::of(row, *key));
        slots.any(|slot| if slot.is_held() { holders } else { waiters })
    });
    if locks.is_empty() {
        let verb = match (waiters, holders) {
            (true, true) => "holds or waits for",
            (true, false) => "waits for",
            _ => "holds",
        };
        let hint = wanted
            .hint()
            .map_or(String::new(), |hint| format!("; {hint}"));
        let message = format!("nobody {verb} advisory lock {lock}{hint}");
        return Ok(vec![Err(Failure::other(message))]);
    }
    // A command line names one lock.
    let queue = lock.keys().first().map(|key| key.slot(0));
    let sessions = Session::group(locks).into_iter();
    Ok(sessions
        .map(|session| Ok(Session { queue, ..session }))
        .collect())
}
