//! The settings of a lock: how it is acquired and held.

use std::time::{Duration, Instant};

use sqlx::postgres::PgPool;

use super::{AdvisoryLock, Wait};
use crate::time_bounds::{
    DEFAULT_KEEPALIVE_INTERVAL, DEFAULT_RESPONSE_TIMEOUT, LONGEST_KEEPALIVE_INTERVAL,
    LONGEST_PERIOD, LONGEST_RESPONSE_TIMEOUT, SHORTEST_KEEPALIVE_INTERVAL,
    SHORTEST_RESPONSE_TIMEOUT,
};

/// The isolation level of a new transaction; see [`AdvisoryLock::isolation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Each statement sees what was committed before it began. This is PostgreSQL's default.
    ReadCommitted,
    /// All statements see what was committed before the first one.
    RepeatableRead,
    /// As `RepeatableRead`, and the transactions behave as if they ran one after the other.
    Serializable,
}

/// The settings that only some scopes have a use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScopedSetting {
    Isolation,
    CancelVia,
    KeepaliveInterval,
    AtLeast,
    TagSession,
}

impl ScopedSetting {
    /// The method that sets it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Isolation => "isolation",
            Self::CancelVia => "cancel_via",
            Self::KeepaliveInterval => "keepalive_interval",
            Self::AtLeast => "at_least",
            Self::TagSession => "tag_session",
        }
    }

    /// Where it has an effect, in words.
    pub(crate) fn belongs_to(self) -> &'static str {
        match self {
            Self::Isolation => "`begin` and `transaction`, on a pool",
            Self::CancelVia => "a transaction or a connection of the caller's",
            Self::AtLeast => {
                "a session lock, with `acquire` or `scope = session`: a transaction lock ends with its transaction"
            }
            Self::KeepaliveInterval | Self::TagSession => "`acquire`, a session of its own",
        }
    }
}

impl AdvisoryLock {
    /// Shares the lock with other shared holders. An exclusive holder excludes it, and is excluded
    /// by it.
    ///
    /// If not set, the lock is exclusive. PostgreSQL's queue is fair: a shared lock waits behind an
    /// exclusive waiter that came first.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// // Readers share the lock; the job that rebuilds the catalogue takes it without `shared`.
    /// let tx = AdvisoryLock::new("catalogue").shared().begin(pool).await?;
    /// tx.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.id = self.id.shared();
        self
    }

    /// Waits at most this long: one deadline for everything the call waits for, including a pooled
    /// connection.
    ///
    /// The server measures the time, in whole milliseconds. `Duration::ZERO`, and anything below 1
    /// ms, does not wait for the lock; anything above `i32::MAX` milliseconds (24 days) is
    /// [`wait_forever`](Self::wait_forever). A pool gets at least 100 ms to hand out a connection,
    /// because a shorter limit would close the connection. With a timeout of zero, the pool gets
    /// its own `acquire_timeout`.
    ///
    /// If the server does not answer in time either, because it or the network is gone, the call
    /// fails with [`Error::Database`](crate::Error::Database) after the
    /// [`response_timeout`](Self::response_timeout). A wait without a limit has no such bound: it
    /// fails when the operating system gives up the connection.
    ///
    /// If not set, the wait depends on the method: see the table above.
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
    /// Other limits still end the wait, with an error that names the lock and the limit
    /// ([`Error::ended_wait`](crate::Error::ended_wait)): a `statement_timeout`, PostgreSQL 17's
    /// `transaction_timeout`, those of a pooler.
    ///
    /// If not set, the wait depends on the method: see the table above.
    #[must_use]
    pub fn wait_forever(mut self) -> Self {
        self.wait = Some(Wait::Forever);
        self
    }

    /// Polls instead of queueing, with a random pause of half to one and a half of this interval
    /// between two polls.
    ///
    /// A wait in the server's queue holds a snapshot, for which `CREATE INDEX CONCURRENTLY` and
    /// vacuum wait. Polling holds no snapshot, and a method that takes a pool returns its
    /// connection between two polls. In return there is no queue: the order of the pollers is
    /// random, and a lock that is hardly ever free may never be granted. Without a timeout the
    /// polling has no end: the server's `lock_timeout` limits a wait in the queue only.
    ///
    /// If not set, the wait is in the server's queue.
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

    /// How long the server may take to answer, beside the wait for the lock, before its connection
    /// counts as lost.
    ///
    /// It bounds the answer to every message of a call that has a [`timeout`](Self::timeout) or
    /// does not wait, to the probes of a [`SessionGuard`](crate::SessionGuard), and to its release.
    /// It does not bound a commit, whose outcome would be unknown. The timeout is at least 100 ms
    /// and at most a day.
    ///
    /// If not set, 5 seconds.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use advisory_core::AdvisoryLock;
    ///
    /// let lock = AdvisoryLock::new("sync(4)").timeout(Duration::from_millis(200));
    /// // An unreachable server is an error after 1.2 seconds.
    /// let lock = lock.response_timeout(Duration::from_secs(1));
    /// ```
    #[must_use]
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout =
            Some(timeout.clamp(SHORTEST_RESPONSE_TIMEOUT, LONGEST_RESPONSE_TIMEOUT));
        self
    }

    /// The isolation level of the transaction that [`begin`](Self::begin),
    /// [`transaction`](Self::transaction) and their `try_` forms open. At every level, its first
    /// statement sees what the previous holder of the lock has committed.
    ///
    /// A `BEGIN ISOLATION LEVEL REPEATABLE READ` followed by a lock does not give that: the
    /// snapshot is taken before the wait, and the transaction reads what was there before. Here the
    /// lock is granted first. `RepeatableRead` and `Serializable` cost one more round trip.
    ///
    /// If not set, the level is the session's `default_transaction_isolation`, and the guarantee
    /// holds for every value of it. If it is not `READ COMMITTED`, each transaction costs one round
    /// trip more, and the first transaction on a pool two: one message fails, and is repeated.
    /// Methods that open no transaction refuse this setting.
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

    /// If a wait on the caller's transaction or connection is dropped, cancels it on the server,
    /// from a connection of its own beside this pool. That works with an exhausted pool, too.
    ///
    /// The transaction is then aborted, as after any failed statement: its next statement returns
    /// the error of the wait, and dropping it rolls back. The cancellation needs a tokio runtime
    /// where the wait is dropped, and the right to see and cancel the statements of the waiting
    /// role, which that role has. The first wait that is not found is a warning.
    ///
    /// If not set, such a wait stays in the queue until the lock is granted or its timeout fires.
    /// Methods that take a pool refuse this setting: they close their connection.
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

    /// How long a watched [`SessionGuard`](crate::SessionGuard) accepts silence before it probes
    /// the server.
    ///
    /// A closed connection is noticed at once, without a probe. The probe is for a network that
    /// goes silent: after this interval the server is asked, and has the
    /// [`response_timeout`](Self::response_timeout) to answer. The probe is a bare `Sync` message,
    /// which is no query and is not logged as one. The interval is at least 100 ms and at most a
    /// day.
    ///
    /// Over TCP, the server's kernel probes this client in the same way while the lock is held, in
    /// whole seconds (`tcp_keepalives_idle` and `tcp_user_timeout`). So if this machine vanishes,
    /// its lock is free after about the same time.
    ///
    /// If not set, 5 seconds. Methods that take a transaction lock refuse this setting.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let second = Duration::from_secs(1);
    /// let lock = AdvisoryLock::new("leader").keepalive_interval(second).response_timeout(second);
    /// let guard = lock.acquire(pool).await?;
    /// guard.lost().await; // at the latest two seconds after the network went silent
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn keepalive_interval(mut self, interval: Duration) -> Self {
        self.keepalive_interval =
            Some(interval.clamp(SHORTEST_KEEPALIVE_INTERVAL, LONGEST_KEEPALIVE_INTERVAL));
        self
    }

    /// Keeps a session lock held until this time after it was granted, also when its guard is
    /// released or dropped earlier.
    ///
    /// A short job that two machines start at three o'clock runs twice when their clocks are a few
    /// seconds apart: the second one finds the lock free again. Kept for a minute, the lock
    /// excludes it. The time has to exceed the difference between the clocks; for a job that runs
    /// once in a period whatever the clocks say, use [`every`](Self::every).
    ///
    /// `release` then returns at once, and the lock is released in the background. No connection of
    /// the pool is kept for it: [`acquire(&pool)`](Self::acquire) opens a connection beside the
    /// pool instead of taking one from it, which takes longer, and a
    /// [`LockSession`](crate::LockSession) has its own anyway.
    ///
    /// The lock is free earlier if its session ends: with the process, with the tokio runtime in
    /// which the guard was released, with [`LockSession::close`](crate::LockSession::close). A
    /// process that exits after its job has to wait. Outside a runtime, a guard of a pool releases
    /// the lock at once.
    ///
    /// If not set, the lock is free when its guard is released. A transaction lock ends with its
    /// transaction, so that the methods that take one refuse this setting, as does
    /// [`lead`](Self::lead).
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn send_mails() {}
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let lock = AdvisoryLock::new("mails").at_least(Duration::from_secs(60));
    /// if let Some(guard) = lock.try_acquire(pool).await? {
    ///     guard.until_lost(send_mails()).await?;
    ///     guard.release().await?; // the lock stays held for the rest of the minute
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn at_least(mut self, time: Duration) -> Self {
        self.at_least = Some(time);
        self
    }

    /// Shows the lock's name in the `application_name` of the session that holds it, after the
    /// session's own name: `billing advisory:sync(4)`.
    ///
    /// `pg_stat_activity` then shows what a session holds, and so do
    /// [`LockStatus::tag`](crate::monitor::LockStatus::tag) and `advisory ls`; otherwise there are
    /// only numbers. PostgreSQL keeps 63 bytes of ASCII: other characters are percent-encoded, and
    /// what is too long is cut, the session's own name first. It costs no round trip, and the
    /// release restores the previous value.
    ///
    /// Everybody who can connect to the server can read it, so do not use it for secret names. A
    /// pooler that shares sessions between clients, such as PgBouncer in session mode, may set
    /// another value.
    ///
    /// If not set, `application_name` is left alone. A lock without a [`name`](Self::name) has
    /// nothing to show. Methods that take a transaction lock refuse this setting, and so does a
    /// [`LockSession`](crate::LockSession), whose locks share one `application_name`.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let guard = AdvisoryLock::new("nightly").tag_session().acquire(pool).await?;
    /// // `SELECT application_name FROM pg_stat_activity` shows `billing advisory:nightly`.
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tag_session(mut self) -> Self {
        self.tag_session = true;
        self
    }

    /// Shows the lock's name in a comment before the statements that ask for it, in every scope:
    /// `/* advisory 5f3a9c1e07d2b846: sync(4) */`.
    ///
    /// `pg_stat_activity.query`, `advisory ls` and the server's log then show what a session waits
    /// for and, until it runs something else, what it holds. The number before the name is that of
    /// this process, and always there. Characters other than printable ASCII, `%` and `*` are
    /// percent-encoded, and a name of more than 200 bytes is cut. It costs no round trip, and
    /// `pg_stat_statements` has no entry for each name.
    ///
    /// If not set, the statements have the keys only. A lock without a [`name`](Self::name) has
    /// nothing to show. See [`tag_session`](Self::tag_session) for a name that stays while a
    /// session lock is held.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let tx = AdvisoryLock::new("sync(4)").tag_statement().begin(pool).await?;
    /// tx.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tag_statement(mut self) -> Self {
        self.tag_statement = true;
        self
    }

    /// The wait of a method that waits.
    pub(crate) fn wait(&self) -> Wait {
        self.wait.unwrap_or(Wait::Server)
    }

    /// The wait of a method that reports.
    pub(crate) fn try_wait(&self) -> Wait {
        self.wait.unwrap_or(Wait::No)
    }

    pub(crate) fn polling_interval(&self) -> Option<Duration> {
        self.polling
    }

    pub(crate) fn isolation_level(&self) -> Option<Isolation> {
        self.isolation
    }

    pub(crate) fn cancel_pool(&self) -> Option<&PgPool> {
        self.cancel_via.as_ref()
    }

    /// The name to show in the `application_name` of the session that holds the lock.
    pub(crate) fn session_tag(&self) -> Option<&str> {
        self.name().filter(|_| self.tag_session)
    }

    /// The name to show in a comment before a statement.
    pub(crate) fn statement_tag(&self) -> Option<&str> {
        self.name().filter(|_| self.tag_statement)
    }

    pub(crate) fn least_time(&self) -> Option<Duration> {
        self.at_least
    }

    /// Until when a lock that was granted now is kept.
    pub(crate) fn keep_until(&self) -> Option<Instant> {
        let time = self.at_least?;
        Some(Instant::now() + time.min(LONGEST_PERIOD))
    }

    pub(crate) fn keepalive(&self) -> Duration {
        self.keepalive_interval
            .unwrap_or(DEFAULT_KEEPALIVE_INTERVAL)
    }

    /// The keepalive interval and the response timeout, where they are set.
    pub(crate) fn liveness_settings(&self) -> (Option<Duration>, Option<Duration>) {
        (self.keepalive_interval, self.response_timeout)
    }

    pub(crate) fn response_limit(&self) -> Duration {
        self.response_timeout.unwrap_or(DEFAULT_RESPONSE_TIMEOUT)
    }

    /// The settings that are set and that only some scopes have a use for.
    pub(crate) fn scoped_settings(&self) -> impl Iterator<Item = ScopedSetting> {
        let set = [
            self.isolation.map(|_| ScopedSetting::Isolation),
            self.cancel_via.as_ref().map(|_| ScopedSetting::CancelVia),
            self.keepalive_interval
                .map(|_| ScopedSetting::KeepaliveInterval),
            self.at_least.map(|_| ScopedSetting::AtLeast),
            self.tag_session.then_some(ScopedSetting::TagSession),
        ];
        set.into_iter().flatten()
    }
}
