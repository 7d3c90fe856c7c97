//! The locks of a server, with their names.

use std::collections::HashSet;

use advisory_core::Key;
use advisory_core::monitor::{self, LockStatus};
use clap::Args;
use sqlx::postgres::PgPool;

use crate::exit::Failure;
use crate::names::{Name, Names, Source};

/// Which locks are looked at.
#[derive(Args, Clone)]
pub(crate) struct Scope {
    /// Those of every database of the server.
    #[arg(long, short)]
    pub(crate) all_databases: bool,
    #[command(flatten)]
    pub(crate) names: Source,
}

impl Scope {
    /// Where one has looked, in words.
    pub(crate) fn place(&self) -> &'static str {
        if self.all_databases {
            "on this server"
        } else {
            "in this database"
        }
    }
}

/// One look at the server.
pub(crate) struct View {
    locks: Vec<(LockStatus, Option<Name>)>,
}

impl View {
    pub(crate) async fn look(
        pool: &PgPool,
        scope: &Scope,
        names: &mut Names,
    ) -> Result<Self, Failure> {
        let locks = if scope.all_databases {
            monitor::locks_of_all_databases(pool).await?
        } else {
            monitor::locks(pool).await?
        };
        let found = names.of_locks(&locks);
        let locks = locks.into_iter().zip(found).collect();
        Ok(Self { locks })
    }

    pub(crate) fn locks(&self) -> impl Iterator<Item = (&LockStatus, Option<&Name>)> {
        self.locks.iter().map(|(lock, name)| (lock, name.as_ref()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.locks.is_empty()
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&LockStatus) -> bool) {
        self.locks.retain(|(lock, _)| keep(lock));
    }

    /// Drops every lock that nobody waits for.
    pub(crate) fn retain_blocked(&mut self) {
        let waited_for: HashSet<_> = self
            .locks()
            .filter(|(lock, _)| !lock.granted)
            .map(|(lock, _)| place(lock))
            .collect();
        self.retain(|lock| waited_for.contains(&place(lock)));
    }
}

/// A key, where it is one.
fn place(lock: &LockStatus) -> (String, Key) {
    (lock.database.clone(), lock.key)
}
