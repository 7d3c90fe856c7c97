//! The locks of a server at one moment, with their names.

use std::collections::HashSet;

use advisory_core::Key;
use advisory_core::monitor::{self, LockStatus};
use clap::Args;
use sqlx::postgres::PgPool;

use crate::exit::Failure;
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

impl Scope {
    pub(super) fn description(&self) -> &'static str {
        if self.all_databases {
            "on this server"
        } else {
            "in this database"
        }
    }
}

pub(super) struct NamedLock {
    pub(super) lock: LockStatus,
    pub(super) name: Option<Name>,
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
    let names = names.of_locks(&locks);
    let locks = locks.into_iter().zip(names);
    Ok(locks.map(|(lock, name)| NamedLock { lock, name }).collect())
}

/// Drops every lock that no session waits for.
pub(super) fn retain_blocked(locks: &mut Vec<NamedLock>) {
    let id = |lock: &LockStatus| -> (String, Key) { (lock.database.clone(), lock.key) };
    let waiting = locks.iter().filter(|row| !row.lock.granted);
    let blocked: HashSet<_> = waiting.map(|row| id(&row.lock)).collect();
    locks.retain(|row| blocked.contains(&id(&row.lock)));
}
