//! The number of round trips of each verb, counted by a proxy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Key};
use advisory_tests::{Database, Proxy};
use advisory_verbs::{Function, Refusal, Scope, Verb};
use sqlx::PgPool;
use tokio::sync::oneshot;

/// The rows of the table, which is printed at the end of the test.
struct Table {
    proxy: Arc<Proxy>,
    rows: Vec<(String, u64)>,
}

/// From then on, an answer counts as that of a wait, which may cost a round trip more. It takes a
/// very busy machine.
const LATE: Duration = Duration::from_millis(100);

impl Table {
    /// Runs some work, and asserts that it costs at most so many round trips, no ping but that of
    /// the pool when it lends a connection, and no new connection.
    async fn row<T>(
        &mut self,
        work: impl Into<String>,
        most: u64,
        run: impl Future<Output = T>,
    ) -> T {
        let work = work.into();
        self.proxy.reset();
        let started = Instant::now();
        let output = run.await;
        let is_late = u64::from(started.elapsed() >= LATE);
        let (spent, pings) = (self.proxy.round_trips(), self.proxy.pings());
        let connections = self.proxy.connections();
        assert!(
            spent > 0 && spent <= most + is_late && pings <= 1 + is_late && connections == 0,
            "{work}: {spent} round trips, not {most}; {pings} pings; {connections} connections\n{}",
            self.proxy.dump()
        );
        self.rows.push((work, spent));
        output
    }

    fn print(&self) {
        println!(
            "\n{:<74} round trips",
            "work (warm statement cache, the pool's pings aside)"
        );
        for (work, spent) in &self.rows {
            println!("{work:<74} {spent:>11}");
        }
    }
}

/// A pool that has been probed, so that only the work is counted. It opens one connection.
async fn warm(proxy: &Proxy) -> PgPool {
    let pool = proxy.pool(2).await;
    let guard = AdvisoryLock::new(1).acquire(&pool).await.unwrap();
    guard.release().await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    for key in FUNCTION_KEYS {
        for function in Function::all() {
            function.call(&mut tx, key).await.unwrap();
            function.unlock(&mut tx, key).await.unwrap();
        }
    }
    advisory_core::unlock_all(&mut tx).await.unwrap();
    tx.rollback().await.unwrap();
    pool
}

/// A key of each space.
const FUNCTION_KEYS: [Key; 2] = [Key::BigInt(1), Key::IntPair(1, 2)];

fn hundred() -> AdvisoryLock {
    AdvisoryLock::all(
        (0..50)
            .map(Key::from)
            .chain((0..50).map(|n| Key::IntPair(1, n))),
    )
}

#[tokio::test]
async fn every_verb_stays_within_its_round_trips() {
    let database = Database::new().await;
    let proxy = Arc::new(Proxy::start(&database).await);
    let pool = warm(&proxy).await;
    let mut table = Table {
        proxy,
        rows: Vec::new(),
    };

    functions(&mut table, &pool).await;
    every_verb(&mut table, &pool).await;
    contended(&mut table, &pool, &database).await;
    refused(&mut table, &pool, &database).await;
    table.print();
}

async fn functions(table: &mut Table, pool: &PgPool) {
    let mut tx = pool.begin().await.unwrap();
    for key in FUNCTION_KEYS {
        for function in Function::all() {
            let called = table.row(format!("{function}()"), 1, function.call(&mut tx, key));
            assert!(called.await.unwrap());
            if !function.is_xact {
                let work = format!("  its unlock, {key}");
                let unlocked = table.row(work, 1, function.unlock(&mut tx, key));
                assert!(unlocked.await.unwrap());
            }
        }
    }
    table
        .row("unlock_all()", 1, advisory_core::unlock_all(&mut tx))
        .await
        .unwrap();
    tx.rollback().await.unwrap();
}

/// Lets the last verb end in the background, and the pool ping the connection that has returned.
async fn settle(pool: &PgPool) {
    while pool.num_idle() < usize::try_from(pool.size()).unwrap() {
        tokio::task::yield_now().await;
    }
    drop(pool.acquire().await.unwrap());
    while pool.num_idle() < usize::try_from(pool.size()).unwrap() {
        tokio::task::yield_now().await;
    }
}

/// The round trips of each verb with a body that sends nothing: until the body begins, and until
/// the verb returns. The functions are counted one by one.
async fn every_verb(table: &mut Table, pool: &PgPool) {
    let timeout = Duration::from_secs(2);
    let one = AdvisoryLock::new("one");
    let permits = AdvisoryLock::new("several").permits(10);
    for verb in Verb::all(Verb::is_of_lock) {
        // A session that many locks share is opened once.
        if verb.scope() == Scope::LockSession {
            verb.ask(&one, pool).await.unwrap();
            verb.ask(&permits, pool).await.unwrap();
        }
        for (kind, lock) in [
            ("1 key", one.clone()),
            ("1 key, a timeout", one.clone().timeout(timeout)),
            ("100 keys", hundred()),
            ("100 keys, a timeout", hundred().timeout(timeout)),
            ("1 of 10 permits", permits.clone()),
            (
                "1 of 10 permits, a timeout",
                permits.clone().timeout(timeout),
            ),
        ] {
            settle(pool).await;
            let (before, after) = most(verb);
            let (proxy, (begun, at_begin)) = (table.proxy.clone(), oneshot::channel());
            let started = Instant::now();
            let body = async move {
                let is_late = started.elapsed() >= LATE;
                begun.send((proxy.round_trips(), is_late)).unwrap();
            };
            let work = format!("{verb}, {kind}");
            let held = verb.hold(&lock, pool, body);
            assert!(table.row(&*work, before + after, held).await.unwrap());
            let (at_begin, is_late) = at_begin.await.unwrap();
            assert!(
                at_begin <= before + u64::from(is_late),
                "{work}: {at_begin} before the body"
            );
        }
    }
}

/// The most round trips before the body, and after it.
fn most(verb: Verb) -> (u64, u64) {
    match (verb.scope(), verb.refusal()) {
        // The begin, the timeout and the lock are one message, and the commit is another.
        (Scope::NewTransaction, Refusal::Error) | (Scope::LockSession, _) => (1, 1),
        // Without a wait, the begin is a message of its own, as it is in a transaction of the
        // caller. A connection of the caller is asked first whether it is in a transaction.
        (Scope::NewTransaction, Refusal::Report)
        | (Scope::CallerTransaction, _)
        | (Scope::CallerConnection, Refusal::Error) => (2, 1),
        (Scope::CallerConnection, Refusal::Report) => (3, 1),
        // The connection returns to the pool in the background, which may add one round trip.
        (Scope::Session, _) => (1, 2),
        (Scope::CallerSession, _) => unreachable!("BUG: only functions lock there"),
    }
}

async fn contended(table: &mut Table, pool: &PgPool, database: &Database) {
    let elsewhere = database.pool(1).await;
    for (keys, lock) in [("1 key", AdvisoryLock::new(7)), ("100 keys", hundred())] {
        let lock = lock.timeout(Duration::from_secs(30));
        let held = lock.begin(&elsewhere).await.unwrap();
        let mut tx = pool.begin().await.unwrap();
        let granted = table.row(
            format!("acquire_xact, {keys}, waited and granted"),
            2,
            async {
                let release = async {
                    database.wait_until_waiting(1).await;
                    held.commit().await.unwrap();
                };
                tokio::join!(lock.acquire_xact(&mut tx), release).0
            },
        );
        granted.await.unwrap();
        tx.rollback().await.unwrap();

        let lock = lock.timeout(Duration::from_millis(20));
        let held = lock.begin(&elsewhere).await.unwrap();
        let mut tx = pool.begin().await.unwrap();
        let work = format!("acquire_xact, {keys}, waited and timed out");
        let error = table
            .row(work, 3, lock.acquire_xact(&mut tx))
            .await
            .unwrap_err();
        assert!(error.is_not_acquired(), "{error}");
        tx.rollback().await.unwrap();
        held.rollback().await.unwrap();
    }
}

async fn refused(table: &mut Table, pool: &PgPool, database: &Database) {
    let lock = AdvisoryLock::new("try");
    let held = lock.begin(&database.pool(1).await).await.unwrap();
    for (keys, lock) in [
        ("1 key", lock.clone()),
        ("2 keys", AdvisoryLock::all(["try", "z"])),
    ] {
        // The rollback is sent in the background.
        let work = format!("try_begin, {keys}, refused, and its rollback");
        let refused = table.row(work, 2, lock.try_begin(pool)).await.unwrap();
        assert!(refused.is_none());
        settle(pool).await;
    }
    held.rollback().await.unwrap();
}
