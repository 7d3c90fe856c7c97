//! How a lock is to be taken and held.

use std::time::Duration;

use sqlx::postgres::PgPool;

use crate::wait::Wait;
use crate::{AdvisoryLock, Isolation, Mode};

impl AdvisoryLock {
    /// Shares the lock with other shared holders; only an exclusive holder keeps it out, and is kept out.
    ///
    /// If not set, the lock is exclusive. PostgreSQL's queue is fair: a shared lock waits behind an exclusive waiter that came
    /// first.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// // Readers share it; who rebuilds the catalogue takes it without `shared`.
    /// let tx = AdvisoryLock::new("catalogue").shared().begin(pool).await?;
    /// tx.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.mode = Mode::Shared;
        self
    }

    /// Waits at most this long: one deadline for everything the call waits for, a pooled connection included.
    ///
    /// The server keeps the time, in whole milliseconds. `Duration::ZERO`, and anything below 1 ms, does not wait for the lock
    /// at all; anything above `i32::MAX` milliseconds (24 days) is [`wait_forever`](Self::wait_forever). A pool is given at
    /// least 100 ms to hand out a connection, since cutting that short would close it; and with a wait of zero, as long as its own
    /// `acquire_timeout`.
    ///
    /// If the server does not answer either, because the network or the server is gone, the call fails with [`Error::Database`](crate::Error::Database)
    /// after the interval of [`probing`](Self::probing) more, or a second if that is shorter. A wait without an end has no such
    /// bound: it fails when the operating system gives the connection up.
    ///
    /// If not set, see the table above.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let lock = AdvisoryLock::new("sync(4)").timeout(Duration::from_millis(500));
    /// match lock.begin(pool).await {
    ///     Ok(tx) => tx.commit().await?,
    ///     Err(error) if error.is_not_acquired() => println!("{error}"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.wait = Some(Wait::at_most(timeout));
        self
    }

    /// Waits until the lock is granted, even if the server has a `lock_timeout`.
    ///
    /// If not set, see the table above.
    #[must_use]
    pub fn wait_forever(mut self) -> Self {
        self.wait = Some(Wait::Forever);
        self
    }

    /// Asks again and again instead of queueing, with a random pause of half to one and a half of this interval in between.
    ///
    /// A wait in the queue holds a snapshot, for which `CREATE INDEX CONCURRENTLY` and vacuum wait in turn; polling holds none, and
    /// a verb on a pool gives its connection back between two polls. In return there is no queue: who comes first is chance, and a
    /// lock that is hardly ever free may never be had. Without a timeout it polls for ever: the server's `lock_timeout` has no
    /// wait to end.
    ///
    /// If not set, the server queues.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let lock = AdvisoryLock::new("reindex").polling(Duration::from_millis(100));
    /// let guard = lock.timeout(Duration::from_secs(30)).acquire(pool).await?;
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn polling(mut self, interval: Duration) -> Self {
        self.polling = Some(interval);
        self
    }

    /// The isolation level of the transaction that [`begin`](Self::begin), [`transaction`](Self::transaction) and their `try_`
    /// forms open. Whatever the level, its first statement sees what the previous holder of the lock has committed.
    ///
    /// That is more than `BEGIN ISOLATION LEVEL REPEATABLE READ` followed by a lock: there the snapshot is taken first, then the
    /// wait begins, and what is read after it is what was there before. Here the lock is granted first. It costs one more round
    /// trip with `RepeatableRead` and `Serializable`.
    ///
    /// If not set, the level is the server's default, and the snapshot of a level other than `READ COMMITTED` is older than
    /// the lock. The other verbs join a transaction or need none, and leave this aside.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error, Isolation};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let lock = AdvisoryLock::new("report").isolation(Isolation::RepeatableRead);
    /// let tx = lock.begin(pool).await?;
    /// // … one snapshot, no older than the lock …
    /// tx.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = Some(isolation);
        self
    }

    /// If a wait on the caller's transaction is dropped, cancels it on the server, from a connection of its own beside this pool
    /// (also when the pool is exhausted).
    ///
    /// The transaction is then aborted, as after any failed statement: the next thing done with it returns the error of the wait,
    /// and dropping it rolls back. Needs a tokio runtime where
    /// the wait is dropped, and the right to see and cancel the statements of the role that waits: the same role has it.
    ///
    /// If not set, such a wait stays in the queue until the lock is granted or its timeout is over. Counts for
    /// [`acquire_xact`](Self::acquire_xact) and [`try_acquire_xact`](Self::try_acquire_xact); the other verbs own their connection
    /// and close it.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let mut tx = pool.begin().await?;
    /// AdvisoryLock::new("sync(4)").cancel_via(pool).acquire_xact(&mut tx).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn cancel_via(mut self, pool: &PgPool) -> Self {
        self.cancel_via = Some(pool.clone());
        self
    }

    /// How often a [`SessionGuard`](crate::SessionGuard) that is watched asks the server for a sign of life.
    ///
    /// A connection that is closed is noticed at once and without asking. The probe is for a network that goes silent: after this
    /// interval without a word the server is asked, and given as long again to answer, or a second if that is shorter. It is a
    /// bare `Sync` message, which is no query and not seen as one. The interval is at least 100 ms and at most a day.
    ///
    /// A body that runs beside a transaction (the attribute on a pool without `tx`) is asked every 500 ms, which also finds out
    /// that its connection was closed; the answer may take as long as here. So may the answer to any message of a verb, besides its
    /// [`timeout`](Self::timeout), but for the commit: what has become of it nobody else can say.
    ///
    /// If not set, 5 seconds.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let lock = AdvisoryLock::new("leader").probing(Duration::from_secs(1));
    /// let guard = lock.acquire(pool).await?;
    /// guard.lost().await; // two seconds after the network went silent, at the latest
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn probing(mut self, interval: Duration) -> Self {
        self.probing = interval;
        self
    }

    /// Shows the lock's name in the `application_name` of the session that holds it, behind what the session is called otherwise:
    /// `billing advisory:sync(4)`.
    ///
    /// `pg_stat_activity` then tells what a session holds, and so do [`LockStatus::tag`](crate::monitor::LockStatus::tag) and
    /// `advisory ls`; without it there are only numbers, to which a name has to be guessed. PostgreSQL has room for 63 bytes of
    /// ASCII: other characters are percent-encoded, what is too long is cut, the session's own name first. It costs no round
    /// trip, and is undone with the release.
    ///
    /// Everybody who can connect to the server can read it, so a name should be no secret. Behind a pooler that shares sessions
    /// between clients, such as PgBouncer in session mode, the pooler may set another one.
    ///
    /// If not set, `application_name` is left alone. Counts for [`acquire`](Self::acquire), [`try_acquire`](Self::try_acquire) and
    /// the attribute with `scope = session`; a lock without a [`name`](Self::name) has nothing to show.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let guard = AdvisoryLock::new("nightly").tag_session().acquire(pool).await?;
    /// // `SELECT application_name FROM pg_stat_activity` says `billing advisory:nightly`.
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tag_session(mut self) -> Self {
        self.tag_session = true;
        self
    }
}
