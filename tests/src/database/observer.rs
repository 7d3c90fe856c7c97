//! The locks and the backends of a database, and waiting for a state of them.

use std::fmt::Write as _;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::try_join_all;
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::{AssertSqlSafe, Executor as _, FromRow};
use tokio::time::{Instant, sleep, timeout_at};

use super::Database;

/// How long a test waits for a state.
const STATE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long locks and transactions of a finished call may remain. The library needs about a second;
/// a busy machine may need more, and a leak remains.
const LEAK_TIMEOUT: Duration = Duration::from_secs(10);

/// The least time, by the clock of a test, of a wait that the server measures: no two clocks run at
/// exactly the same speed.
#[must_use]
pub fn by_our_clock(by_the_server: Duration) -> Duration {
    by_the_server.mul_f64(0.99)
}

const LOCKS: &str = "SELECT l.pid, l.classid::int8, l.objid::int8, l.objsubid, l.mode, l.granted \
     FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.database \
     WHERE l.locktype = 'advisory' AND d.datname = $1 \
     ORDER BY l.classid, l.objid, l.objsubid, l.granted DESC, l.pid";

// An aborted transaction has no `xact_start`.
const BACKENDS: &str = "SELECT pid, state, wait_event_type, wait_event, query, application_name, \
     xact_start IS NOT NULL OR coalesce(state LIKE 'idle in transaction%', false) AS in_transaction \
     FROM pg_catalog.pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend' ORDER BY backend_start, pid";

/// An advisory lock that a backend holds or waits for: a row of `pg_locks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRow {
    /// The backend that holds the lock or waits for it.
    pub pid: i32,
    /// The upper half of a bigint key, or the first of two integer keys.
    pub classid: u32,
    /// The lower half of a bigint key, or the second of two integer keys.
    pub objid: u32,
    /// 1 for a bigint key, 2 for two integer keys.
    pub objsubid: i16,
    /// `ExclusiveLock` or `ShareLock`.
    pub mode: String,
    /// False while the backend waits.
    pub granted: bool,
}

impl FromRow<'_, PgRow> for LockRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        use sqlx::Row as _;
        let oid = |column| -> sqlx::Result<u32> {
            let number: i64 = row.try_get(column)?;
            Ok(u32::try_from(number).expect("BUG: an oid has 32 bits"))
        };
        Ok(Self {
            pid: row.try_get("pid")?,
            classid: oid("classid")?,
            objid: oid("objid")?,
            objsubid: row.try_get("objsubid")?,
            mode: row.try_get("mode")?,
            granted: row.try_get("granted")?,
        })
    }
}

/// The backend of a client: a row of `pg_stat_activity`.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct BackendRow {
    /// The process id of the backend.
    pub pid: i32,
    /// `active`, `idle`, `idle in transaction`, `idle in transaction (aborted)`, …; `None` until
    /// the backend has reported its state.
    pub state: Option<String>,
    /// The type of the event that the backend waits for: `Lock`, `Client`, …
    pub wait_event_type: Option<String>,
    /// The event that the backend waits for: `advisory`, `ClientRead`, …
    pub wait_event: Option<String>,
    /// The statement that the backend runs, or the last statement that it ran.
    pub query: String,
    /// The name that the client has given itself.
    pub application_name: String,
    /// True if a transaction is open, also an aborted one or that of the running statement.
    pub in_transaction: bool,
}

impl Database {
    /// The advisory locks in this database, granted or waited for.
    ///
    /// # Panics
    ///
    /// If the server does not answer.
    pub async fn advisory_locks(&self) -> Vec<LockRow> {
        self.observe(LOCKS).await
    }

    /// The backends of this database's clients, without the harness's own.
    ///
    /// # Panics
    ///
    /// If the server does not answer.
    pub async fn backends(&self) -> Vec<BackendRow> {
        self.observe(BACKENDS).await
    }

    /// Waits until exactly `n` requests for advisory locks are waiting.
    ///
    /// # Panics
    ///
    /// If that takes more than 30 s.
    pub async fn wait_until_waiting(&self, n: usize) {
        self.wait_until_locks(&format!("{n} waiting"), |locks| {
            locks.iter().filter(|l| !l.granted).count() == n
        })
        .await;
    }

    /// Waits until exactly `n` advisory locks are held.
    ///
    /// # Panics
    ///
    /// If that takes more than 30 s.
    pub async fn wait_until_held(&self, n: usize) {
        self.wait_until_locks(&format!("{n} held"), |locks| {
            locks.iter().filter(|l| l.granted).count() == n
        })
        .await;
    }

    /// Waits until `is_reached` returns true for the advisory locks. `what` describes the state in
    /// the message of the panic.
    ///
    /// # Panics
    ///
    /// If that takes more than 30 s.
    pub async fn wait_until_locks(&self, what: &str, is_reached: impl Fn(&[LockRow]) -> bool) {
        let deadline = Instant::now() + STATE_TIMEOUT;
        while !is_reached(&self.advisory_locks().await) {
            self.pause(deadline, what).await;
        }
    }

    /// Waits until `is_reached` returns true for the backends. `what` describes the state in the
    /// message of the panic.
    ///
    /// # Panics
    ///
    /// If that takes more than 30 s.
    pub async fn wait_until_backends(
        &self,
        what: &str,
        is_reached: impl Fn(&[BackendRow]) -> bool,
    ) {
        let deadline = Instant::now() + STATE_TIMEOUT;
        while !is_reached(&self.backends().await) {
            self.pause(deadline, what).await;
        }
    }

    /// Waits until a backend runs `pg_sleep`.
    ///
    /// # Panics
    ///
    /// If that takes more than 30 s.
    pub async fn wait_until_asleep(&self) {
        self.wait_until_backends("a backend in `pg_sleep`", |backends| {
            let mut events = backends.iter().map(|backend| backend.wait_event.as_deref());
            events.any(|event| event == Some("PgSleep"))
        })
        .await;
    }

    /// Waits until a backend is idle in a transaction whose last statement was `statement`.
    ///
    /// # Panics
    ///
    /// If that takes more than 30 s.
    pub async fn wait_until_idle_after(&self, statement: &str) {
        self.wait_until_backends("an idle transaction", |backends| {
            let is_idle = |state: &str| state == "idle in transaction";
            let mut idle = backends
                .iter()
                .filter(|b| b.state.as_deref().is_some_and(is_idle));
            idle.any(|backend| backend.query == statement)
        })
        .await;
    }

    /// Polls a wait for a lock until it is in the queue, and drops it there.
    ///
    /// # Panics
    ///
    /// If the wait ends before, or takes more than 30 s.
    pub async fn drop_when_waiting(&self, wait: impl Future) {
        drop_when(self.wait_until_waiting(1), wait).await;
    }

    /// Terminates the backends that hold an advisory lock or wait for one.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn terminate_lockers(&self) {
        self.signal("pg_terminate_backend", |_| true).await;
    }

    /// Calls `pg_cancel_backend` or `pg_terminate_backend` for the backend of each lock, granted or
    /// waited for, for which `is_target` returns true.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn signal(&self, function: &str, is_target: impl Fn(&LockRow) -> bool) {
        let mut connection = self.connection().await;
        let locks = self.advisory_locks().await.into_iter();
        for lock in locks.filter(is_target) {
            let signal = AssertSqlSafe(format!("SELECT {function}({})", lock.pid));
            let sent = connection.execute(signal).await;
            sent.unwrap_or_else(|error| panic!("a backend can be signalled: {error}"));
        }
    }

    /// Asserts that within ten seconds no advisory lock is held or waited for, no backend is in a
    /// transaction, and every connection of `pool` can be acquired and answers.
    ///
    /// # Panics
    ///
    /// If one of these conditions does not hold.
    pub async fn assert_nothing_leaked(&self, pool: &PgPool) {
        self.assert_nothing_leaked_after(LEAK_TIMEOUT, pool).await;
    }

    /// As [`assert_nothing_leaked`](Self::assert_nothing_leaked), with another limit.
    ///
    /// # Panics
    ///
    /// If one of these is not reached in time.
    pub async fn assert_nothing_leaked_after(&self, limit: Duration, pool: &PgPool) {
        let deadline = Instant::now() + limit;
        while !self.advisory_locks().await.is_empty() {
            self.pause(deadline, "no advisory lock").await;
        }
        while self
            .backends()
            .await
            .iter()
            .any(|backend| backend.in_transaction)
        {
            self.pause(deadline, "no open transaction").await;
        }
        let capacity = timeout_at(deadline, use_whole_pool(pool)).await;
        let complaint = match capacity {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("not every connection of the pool answers: {error}"),
            Err(_elapsed) => "the pool is not at full capacity".to_owned(),
        };
        panic!("leaked: {complaint}\n{}", self.dump().await);
    }

    /// As [`assert_nothing_leaked`](Self::assert_nothing_leaked), for a test without a pool.
    ///
    /// # Panics
    ///
    /// If one of these conditions does not hold.
    pub async fn assert_nothing_left(&self) {
        self.assert_nothing_leaked(&self.pool(1).await).await;
    }

    /// The locks and the backends as text, for the message of an assertion.
    ///
    /// # Panics
    ///
    /// If the server does not answer.
    pub async fn dump(&self) -> String {
        let mut dump = String::from("advisory locks:\n");
        for lock in self.advisory_locks().await {
            let _ = writeln!(dump, "  {lock:?}");
        }
        dump.push_str("backends:\n");
        for backend in self.backends().await {
            let _ = writeln!(dump, "  {backend:?}");
        }
        dump
    }

    async fn pause(&self, deadline: Instant, what: &str) {
        let is_late = Instant::now() >= deadline;
        assert!(
            !is_late,
            "not reached in time: {what}\n{}",
            self.dump().await
        );
        sleep(Duration::from_millis(5)).await;
    }

    async fn observe<T>(&self, statement: &'static str) -> Vec<T>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let mut observer = self.observer.lock().await;
        let fetch = async |connection: &mut PgConnection| {
            let query = sqlx::query_as(statement).bind(self.name());
            query.fetch_all(connection).await
        };
        // The connection is broken if the server has restarted. A new one replaces it.
        if let Some(connection) = observer.as_mut()
            && let Ok(rows) = fetch(connection).await
        {
            return rows;
        }
        let connection = observer.insert(self.connect_to_maintenance().await);
        fetch(connection)
            .await
            .unwrap_or_else(|error| panic!("the server can be observed: {error}"))
    }
}

/// Polls a future until a state is reached, and drops it then.
///
/// # Panics
///
/// If the future ends before.
pub async fn drop_when(state: impl Future<Output = ()>, future: impl Future) {
    tokio::select! {
        biased;
        _ = future => panic!("it ends before it is dropped"),
        () = state => {}
    }
}

/// Polls a future at most `polls` times, then drops it. Returns its output if it has completed.
pub async fn drop_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    for left in (0..polls).rev() {
        if let Poll::Ready(output) = futures_util::poll!(future.as_mut()) {
            return Some(output);
        }
        if left > 0 {
            // Until the future wakes this task.
            futures_util::pending!();
        }
    }
    None
}

/// True if one of twenty attempts succeeds, each of which a busy machine may delay for too long.
pub async fn is_ever(attempt: impl AsyncFn() -> bool) -> bool {
    for _ in 0..20 {
        if attempt().await {
            return true;
        }
    }
    false
}

/// Acquires all connections of a pool at the same time, and sends a query on each.
async fn use_whole_pool(pool: &PgPool) -> sqlx::Result<()> {
    let count = pool.options().get_max_connections();
    let mut connections = try_join_all((0..count).map(|_| pool.acquire())).await?;
    // The simple protocol works through every pooler.
    let answers = connections
        .iter_mut()
        .map(|connection| sqlx::raw_sql("SELECT 1").execute(&mut **connection));
    try_join_all(answers).await?;
    Ok(())
}
