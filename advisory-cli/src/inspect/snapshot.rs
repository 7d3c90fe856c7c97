//! The locks of a server at one moment, with their names.

use std::collections::HashSet;

use advisory_core::monitor::{self, LockStatus};
use clap::Args;
use sqlx::postgres::PgPool;

use crate::exit::Failure;
use crate::lock_status::lock_id;
use crate::names::{Name, Names, NamesOption};

/// Which locks a snapshot has.
#[derive(Args, Clone)]
pub(super) struct Scope {
    /// Show the locks of every database of the server.
    #[arg(long, short)]
    pub(super) all_databases: bool,
    #[command(flatten)]
    pub(super) names: NamesOption,
}

pub(super) struct NamedLock {
    pub(super) lock: LockStatus,
    pub(super) name: Option<Name>,
    /// Whether any session waits for this lock.
    pub(super) is_awaited: bool,
}

pub(super) async fn take(
    pool: &PgPool,
    scope: &Scope,
    names: &mut Names,
) -> Result<Vec<NamedLock>, Failure> {
    let locks = if scope.all_databases {
        monitor::locks_of_all_databases(pool).await?
    } else {
        monitor::locks(pool).await?
    };
    Ok(named(locks, names))
}

/// The locks of all databases, if the scope is one database that has none.
pub(super) async fn elsewhere(pool: &PgPool, scope: &Scope) -> Result<Vec<NamedLock>, Failure> {
    if scope.all_databases {
        return Ok(Vec::new());
    }
    let locks = monitor::locks_of_all_databases(pool).await?;
    Ok(named(locks, &mut Names::default()))
}

fn named(locks: Vec<LockStatus>, names: &mut Names) -> Vec<NamedLock> {
    let names = names.of_locks(&locks);
    let is_awaited = are_awaited(&locks);
    let rows = locks.into_iter().zip(names).zip(is_awaited);
    let row = |((lock, name), is_awaited)| NamedLock {
        lock,
        name,
        is_awaited,
    };
    rows.map(row).collect()
}

/// Whether any session waits for the lock, in the order of the locks.
fn are_awaited(locks: &[LockStatus]) -> Vec<bool> {
    let awaited = locks.iter().filter(|lock| !lock.granted);
    let awaited: HashSet<_> = awaited.map(lock_id).collect();
    let is_awaited = |lock| awaited.contains(&lock_id(lock));
    locks.iter().map(is_awaited).collect()
}
