//! The number of round trips of each verb, counted by a proxy.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Key};
use advisory_tests::{Database, Proxy};
use sqlx::PgPool;

/// The rows of the table, which is printed at the end of the test.
struct Table<'p> {
    proxy: &'p Proxy,
    rows: Vec<(String, u64)>,
}

impl Table<'_> {
    /// Runs some work, and asserts that it costs at most so many round trips.
    async fn row<T>(
        &mut self,
        work: impl Into<String>,
        most: u64,
        run: impl Future<Output = T>,
    ) -> T {
        let work = work.into();
        self.proxy.reset();
        let output = run.await;
        let spent = self.proxy.round_trips();
        assert!(
            spent <= most && spent > 0,
            "{work}: {spent} round trips, not {most}\n{}",
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

/// A pool with one connection that has been probed, so that only the work is counted.
async fn warm(proxy: &Proxy) -> PgPool {
    let pool = proxy.pool(1).await;
    let guard = AdvisoryLock::new(1).acquire(&pool).await.unwrap();
    guard.release().await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    call_every_function(&mut tx, 1.into(), async |_, _| {}).await;
    call_every_function(&mut tx, (1, 2).into(), async |_, _| {}).await;
    tx.rollback().await.unwrap();
    pool
}

/// Calls all eleven functions, and reports the name of each afterwards.
async fn call_every_function(
    tx: &mut sqlx::PgTransaction<'_>,
    key: Key,
    mut called: impl AsyncFnMut(&str, Key),
) {
    macro_rules! call {
        ($($function:ident),+) => {$(
            advisory_core::$function(&mut *tx, key).await.unwrap();
            called(stringify!($function), key).await;
        )+};
    }
    call!(
        lock,
        lock_shared,
        try_lock,
        try_lock_shared,
        unlock,
        unlock_shared
    );
    call!(
        xact_lock,
        xact_lock_shared,
        try_xact_lock,
        try_xact_lock_shared
    );
    advisory_core::unlock_all(tx).await.unwrap();
    called("unlock_all", key).await;
}

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
    let proxy = Proxy::start(&database).await;
    let pool = warm(&proxy).await;
    let mut table = Table {
        proxy: &proxy,
        rows: Vec::new(),
    };

    functions(&mut table, &pool).await;
    joining(&mut table, &pool).await;
    contended(&mut table, &pool, &database).await;
    opening(&mut table, &pool).await;
    trying(&mut table, &pool, &database).await;
    session(&mut table, &pool).await;
    table.print();
}

async fn functions(table: &mut Table<'_>, pool: &PgPool) {
    let mut tx = pool.begin().await.unwrap();
    for key in [Key::from(1), Key::from((1, 2))] {
        macro_rules! rows {
            ($($function:ident),+) => {$(
                let work = concat!(stringify!($function), "()");
                table.row(work, 1, advisory_core::$function(&mut tx, key)).await.unwrap();
            )+};
        }
        rows!(
            lock,
            lock_shared,
            try_lock,
            try_lock_shared,
            unlock,
            unlock_shared
        );
        rows!(
            xact_lock,
            xact_lock_shared,
            try_xact_lock,
            try_xact_lock_shared
        );
    }
    table
        .row("unlock_all()", 1, advisory_core::unlock_all(&mut tx))
        .await
        .unwrap();
    tx.rollback().await.unwrap();
}

async fn joining(table: &mut Table<'_>, pool: &PgPool) {
    let timeout = Duration::from_secs(2);
    let locks = [("1 key", AdvisoryLock::new("one")), ("100 keys", hundred())];
    for (keys, lock) in locks {
        for (wait, lock) in [
            ("no timeout", lock.clone()),
            ("a timeout", lock.clone().timeout(timeout)),
        ] {
            let mut tx = pool.begin().await.unwrap();
            let work = format!("acquire_xact, {keys}, {wait}");
            table
                .row(work, 1, lock.acquire_xact(&mut tx))
                .await
                .unwrap();
            tx.rollback().await.unwrap();

            let mut tx = pool.begin().await.unwrap();
            let work = format!("try_acquire_xact, {keys}, {wait}");
            assert!(
                table
                    .row(work, 1, lock.try_acquire_xact(&mut tx))
                    .await
                    .unwrap()
            );
            tx.rollback().await.unwrap();
        }
    }
}

async fn contended(table: &mut Table<'_>, pool: &PgPool, database: &Database) {
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

async fn opening(table: &mut Table<'_>, pool: &PgPool) {
    let lock = AdvisoryLock::new("begin");
    for (wait, lock) in [
        ("no timeout", lock.clone()),
        ("a timeout", lock.timeout(Duration::from_secs(2))),
    ] {
        let tx = table
            .row(format!("begin, {wait}"), 1, lock.begin(pool))
            .await
            .unwrap();
        table.row("  its commit", 1, tx.commit()).await.unwrap();

        let transaction = lock.transaction(pool, async |_| Ok::<_, Error>(()));
        table
            .row(
                format!("transaction, {wait}: begin + timeout + lock, commit"),
                2,
                transaction,
            )
            .await
            .unwrap();
    }
    table
        .row(
            "transaction, 100 keys",
            2,
            hundred().transaction(pool, async |_| Ok::<_, Error>(())),
        )
        .await
        .unwrap();
    table
        .row("#[advisory(timeout = 2)] on a pool", 2, annotated(pool))
        .await
        .unwrap();
}

#[advisory_core::advisory(key = "annotated", timeout = 2)]
async fn annotated(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

async fn trying(table: &mut Table<'_>, pool: &PgPool, database: &Database) {
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
        drop(pool.acquire().await.unwrap());
    }
    held.rollback().await.unwrap();
    let tx = table
        .row("try_begin", 2, lock.try_begin(pool))
        .await
        .unwrap()
        .unwrap();
    table.row("  its commit", 1, tx.commit()).await.unwrap();
    let transaction = lock.try_transaction(pool, async |_| Ok::<_, Error>(()));
    assert!(
        table
            .row("try_transaction", 3, transaction)
            .await
            .unwrap()
            .is_some()
    );
}

async fn session(table: &mut Table<'_>, pool: &PgPool) {
    let locks = [
        ("1 key", AdvisoryLock::new("session")),
        ("100 keys", hundred()),
    ];
    for (keys, lock) in locks {
        let timeout = lock.clone().timeout(Duration::from_secs(2));
        for (wait, lock) in [("no timeout", lock), ("a timeout", timeout)] {
            let work = format!("acquire, {keys}, {wait}");
            let guard = table.row(work, 1, lock.acquire(pool)).await.unwrap();
            // The connection returns to the pool in the background, which may add one round trip.
            table
                .row("  its release", 2, guard.release())
                .await
                .unwrap();
            drop(pool.acquire().await.unwrap());
            let work = format!("try_acquire, {keys}, {wait}");
            let guard = table
                .row(work, 1, lock.try_acquire(pool))
                .await
                .unwrap()
                .unwrap();
            guard.release().await.unwrap();
            drop(pool.acquire().await.unwrap());
        }
    }
}
