//! A partition: the old primary continues to run while the new one is promoted.

use std::time::Duration;

use advisory_core::{Error, UnsupportedReason, fencing_token};
use advisory_tests::{Database, Proxy, Shutdown, sample};
use sqlx::{Executor as _, PgPool, PgTransaction};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::lock;
use super::pair::{Fault, Pair};

/// A table of names, which the standby has as well.
async fn create_table(pair: &Pair) {
    let mut conn = pair.primary.database.connection().await;
    conn.execute("CREATE TABLE t (name text)").await.unwrap();
    let (standby, primary) = (&pair.standby.server, &pair.primary.server);
    standby.wait_until_replayed(primary).await;
}

async fn insert(tx: &mut PgTransaction<'_>, name: &str) -> Result<(), Error> {
    let insert = sqlx::query("INSERT INTO t VALUES ($1)").bind(name);
    insert.execute(&mut **tx).await?;
    Ok(())
}

async fn names(database: &Database) -> Vec<String> {
    let mut conn = database.connection().await;
    let names = sqlx::query_scalar("SELECT name FROM t");
    names.fetch_all(&mut conn).await.unwrap()
}

/// PostgreSQL does not replicate locks, and nothing informs the old primary of the promotion. Only
/// a fencing token distinguishes the two holders.
#[tokio::test(flavor = "multi_thread")]
async fn old_primary_that_still_runs_grants_and_commits() {
    let pair = Pair::start().await;
    create_table(&pair).await;
    let (old, new) = (&pair.primary.database, &pair.standby.database);
    let proxy = Proxy::start_tcp(old);
    let pool = proxy.pool(2).await;
    let lock = lock("leader");
    let mut cut_off = lock.begin(&pool).await.unwrap();
    let old_token = fencing_token(&mut cut_off).await.unwrap();
    insert(&mut cut_off, "old").await.unwrap();

    pair.fail_primary(Fault::Silence, &proxy).await;
    pair.promote().await;
    let mut tx = lock.begin(&pool).await.unwrap();
    let new_token = fencing_token(&mut tx).await.unwrap();
    insert(&mut tx, "new").await.unwrap();
    assert!(old_token < new_token, "{old_token} {new_token}");
    old.wait_until_held(1).await;
    new.wait_until_held(1).await;

    proxy.set_silent(false);
    cut_off.commit().await.unwrap();
    let direct = old.pool(1).await;
    let third = lock.try_acquire(&direct).await.unwrap();
    third.expect("it is free there").release().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(names(old).await, ["old"]);
    assert_eq!(names(new).await, ["new"]);
    old.assert_nothing_leaked(&direct).await;
    new.assert_nothing_left().await;
}

/// Opens all connections of a pool, and waits until they are idle.
pub(crate) async fn with_idle(pool: PgPool, count: u32) -> PgPool {
    let all = (0..count).map(|_| pool.acquire());
    drop(futures_util::future::try_join_all(all).await.unwrap());
    while pool.num_idle() < count as usize {
        sleep(Duration::from_millis(1)).await;
    }
    pool
}

/// sqlx checks a connection before it hands it out, and waits for the response as long as the
/// caller waits for a connection.
#[tokio::test(flavor = "multi_thread")]
async fn each_idle_connection_to_a_silent_server_costs_one_call_its_timeout() {
    let pair = Pair::start().await;
    let proxy = Proxy::start_tcp(&pair.primary.database);
    let pool = with_idle(proxy.pool(3).await, 3).await;
    pair.fail_primary(Fault::Silence, &proxy).await;
    pair.promote().await;
    let lock = lock("leader").timeout(Duration::from_millis(200));
    for _ in 0..3 {
        let refused = lock.acquire(&pool).await.unwrap_err();
        let is_late = matches!(refused, Error::Database(sqlx::Error::PoolTimedOut));
        assert!(is_late, "{refused:?}");
    }
    let guard = lock.acquire(&pool).await.unwrap();
    pair.standby.database.wait_until_held(1).await;
    guard.release().await.unwrap();
    let new = &pair.standby.database;
    new.assert_nothing_leaked(&pool).await;
}

/// If the old primary still responds, a pool can have connections to both primaries.
#[tokio::test(flavor = "multi_thread")]
async fn pool_with_two_primaries_refuses_session_locks_until_it_has_one() {
    let pair = Pair::start().await;
    let proxy = Proxy::start_tcp(&pair.primary.database);
    let pool = with_idle(proxy.pool(3).await, 3).await;
    let new = &pair.standby.database;
    proxy.set_target(new);
    pair.promote().await;
    for _ in 0..3 {
        let refused = lock("leader").acquire(&pool).await.unwrap_err();
        let is_two_servers = matches!(&refused, Error::Unsupported { reason, .. } if *reason == UnsupportedReason::UnfitPool);
        assert!(is_two_servers, "{refused:?}");
    }
    let guard = lock("leader").acquire(&pool).await.unwrap();
    new.wait_until_held(1).await;
    guard.release().await.unwrap();
    new.assert_nothing_leaked(&pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_that_lost_its_primary_has_written_nothing() {
    let mut pair = Pair::start().await;
    create_table(&pair).await;
    let proxy = Proxy::start_tcp(&pair.primary.database);
    let pool = proxy.pool(2).await;
    let ends = [Shutdown::Kill, Shutdown::Immediate, Shutdown::Fast];
    for how in sample(1, ends) {
        let (written, is_written) = oneshot::channel();
        let (resume, resumed) = oneshot::channel();
        let body = async |tx: &mut PgTransaction<'_>| {
            insert(tx, "lost").await?;
            written.send(()).unwrap();
            resumed.await.unwrap();
            Ok::<_, Error>(())
        };
        let lock = lock("leader");
        let fail_over = async {
            is_written.await.unwrap();
            pair.fail_primary(Fault::Stopped(how), &proxy).await;
            pair.promote().await;
            resume.send(()).unwrap();
        };
        let (lost, ()) = tokio::join!(lock.transaction(&pool, body), fail_over);
        let lost = lost.unwrap_err();
        assert!(matches!(lost, Error::Database(_)), "{how:?}: {lost:?}");

        let kept = lock.transaction(&pool, async |tx| insert(tx, "kept").await);
        kept.await.unwrap();
        let new = &pair.standby.database;
        assert_eq!(names(new).await, ["kept"], "{how:?}");
        new.assert_nothing_leaked(&pool).await;
        pool.execute("TRUNCATE t").await.unwrap();
        pair = pair.next();
    }
}
