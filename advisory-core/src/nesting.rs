//! Which locks are held around the code that runs now.
//!
//! A call that waits for such a lock on a connection of its own waits for its caller, which waits
//! for it: PostgreSQL cannot see this deadlock. The locks are known to the task that runs the body,
//! and not to a task that the body spawns.

use std::future::Future;
use std::iter::successors;
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgPool};
use tokio::task::futures::TaskLocalFuture;

use crate::lock::{LockId, Mode};

/// The innermost lock, and those around it.
type Chain = Option<Arc<Link>>;

tokio::task_local! {
    static AROUND: Chain;
}

/// A lock that is held around a body.
#[derive(Clone, Debug)]
pub struct Held {
    lock: LockId,
    /// Where it is held; `None` if that is not known.
    database: Option<Arc<PgConnectOptions>>,
}

#[derive(Debug)]
pub struct Link {
    held: Held,
    outer: Chain,
}

impl Held {
    pub(crate) fn on_pool(lock: &LockId, pool: &PgPool) -> Self {
        Self {
            lock: lock.clone(),
            database: Some(pool.connect_options()),
        }
    }

    /// A connection does not tell where it leads.
    pub(crate) fn on_connection(lock: &LockId) -> Self {
        Self {
            lock: lock.clone(),
            database: None,
        }
    }

    pub(crate) fn lock(&self) -> &LockId {
        &self.lock
    }

    /// The body, which knows that it runs under this lock.
    pub fn around<F: Future>(self, body: F) -> TaskLocalFuture<Chain, F> {
        let outer = AROUND.try_with(Clone::clone).unwrap_or_default();
        AROUND.scope(Some(Arc::new(Link { held: self, outer })), body)
    }

    fn excludes(&self, lock: &LockId, database: &PgConnectOptions) -> bool {
        let is_exclusive = self.lock.mode() == Mode::Exclusive || lock.mode() == Mode::Exclusive;
        // Others may release a permit meanwhile.
        let has_one_permit = self.lock.permits() == 1 && lock.permits() == 1;
        is_exclusive
            && has_one_permit
            && self
                .lock
                .keys()
                .iter()
                .any(|key| lock.keys().binary_search(key).is_ok())
            && self.is_in(database)
    }

    fn is_in(&self, database: &PgConnectOptions) -> bool {
        let held_in = self.database.as_deref();
        held_in.is_some_and(|held_in| is_same(held_in, database))
    }
}

/// The lock around the code that runs now which excludes this lock on another connection.
pub(crate) fn held_around(lock: &LockId, pool: &PgPool) -> Option<LockId> {
    find(pool, |held, database| held.excludes(lock, database))
}

/// Whether the code that runs now is the body of a lock in this database, or perhaps in this one.
pub(crate) fn is_under_a_lock(pool: &PgPool) -> bool {
    find(pool, |held, database| {
        held.database.is_none() || held.is_in(database)
    })
    .is_some()
}

/// The innermost lock around the code that runs now for which this is true.
fn find(pool: &PgPool, is_true: impl Fn(&Held, &PgConnectOptions) -> bool) -> Option<LockId> {
    let find = |chain: &Chain| {
        let database = pool.connect_options();
        let mut links = successors(chain.as_deref(), |link| link.outer.as_deref());
        let found = links.find(|link| is_true(&link.held, &database));
        found.map(|link| link.held.lock.clone())
    };
    AROUND.try_with(find).ok().flatten()
}

/// Whether both lead to the same database. If that is not known, they count as different.
fn is_same(one: &PgConnectOptions, other: &PgConnectOptions) -> bool {
    fn address(options: &PgConnectOptions) -> impl PartialEq {
        let database = options.get_database().unwrap_or(options.get_username());
        (
            options.get_host(),
            options.get_port(),
            options.get_socket(),
            database,
        )
    }
    address(one) == address(other)
}
