//! Fencing tokens grow after every end of a server and after every promotion.

use advisory_core::{Error, fencing_token};
use advisory_tests::{Database, Server, Shutdown, by_depth};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tokio::task::block_in_place;
use tokio::time::{Duration, sleep};

use super::lock;
use super::pair::Pair;

/// The token of a session lock and the token of a transaction lock.
async fn tokens(pool: &PgPool) -> [i64; 2] {
    let lock = lock("report");
    let mut guard = lock.acquire(pool).await.unwrap();
    let first = guard.fencing_token().await.unwrap();
    guard.release().await.unwrap();
    let second = lock.transaction(pool, async |tx| fencing_token(tx).await);
    [first, second.await.unwrap()]
}

/// The WAL position, which is part of a token, without the timeline.
async fn position(database: &Database) -> i64 {
    let position = sqlx::query_scalar("SELECT (pg_current_wal_lsn() - '0/0')::int8");
    let mut conn = database.connection().await;
    position.fetch_one(&mut conn).await.unwrap()
}

/// Advances the WAL further than a server advances it during its start in these tests.
async fn skip_ahead(pool: &PgPool) {
    for _ in 0..5 {
        tokens(pool).await;
        pool.execute("SELECT pg_switch_wal()").await.unwrap();
    }
}

/// Ends the replication permanently. A standby without its slot receives nothing.
async fn end_replication(primary: &Database) {
    let end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active";
    let forget = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots";
    let mut conn = primary.connection().await;
    conn.execute(end).await.unwrap();
    while conn.execute(forget).await.is_err() {
        sleep(Duration::from_millis(5)).await;
        conn.execute(end).await.unwrap();
    }
}

/// The token of a transaction in this session.
async fn token(conn: &mut PgConnection) -> Result<i64, Error> {
    let mut tx = conn.begin().await?;
    fencing_token(&mut tx).await
}

#[tokio::test(flavor = "multi_thread")]
async fn new_primary_gives_greater_tokens_although_its_wal_is_behind() {
    let pair = Pair::start().await;
    let (old, new) = (&pair.primary.database, &pair.standby.database);
    let (old_pool, new_pool) = (old.pool(2).await, new.pool(2).await);
    let mut taken = tokens(&old_pool).await.to_vec();
    end_replication(old).await;
    skip_ahead(&old_pool).await;
    taken.extend(tokens(&old_pool).await);
    let ahead = position(old).await;

    let mut early = new.connection().await;
    let refused = token(&mut early).await.unwrap_err();
    assert!(matches!(refused, Error::Unsupported { .. }), "{refused:?}");
    pair.promote().await;
    // A session that was opened before the promotion has the new timeline as well.
    taken.push(token(&mut early).await.unwrap());
    taken.extend(tokens(&new_pool).await);
    assert!(taken.is_sorted_by(|a, b| a < b), "{taken:?}");
    let behind = position(new).await;
    assert!(behind < ahead, "{behind} {ahead}");

    // The old primary continues to run, and its tokens stay smaller.
    let late = tokens(&old_pool).await;
    let newest = taken.pop().unwrap();
    assert!(late.iter().all(|late| *late < newest), "{late:?} {newest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_grow_after_every_end_of_a_server() {
    let server = block_in_place(Server::start).unwrap();
    let database = Database::on(&server).await;
    let pool = database.pool(3).await;
    let mut taken = Vec::new();
    for how in [Shutdown::Kill, Shutdown::Immediate, Shutdown::Fast].repeat(by_depth(1, 3)) {
        let mut guard = lock("report").acquire(&pool).await.unwrap();
        let mut tx = lock("other report").begin(&pool).await.unwrap();
        taken.push(guard.fencing_token().await.unwrap());
        let of_transaction = fencing_token(&mut tx).await.unwrap();
        // Before PostgreSQL 17, the token of a transaction is valid only after the commit.
        if server.version().major >= 17 {
            taken.push(of_transaction);
        }
        server.stop(how).await;
        assert!(guard.fencing_token().await.unwrap_err().is_lost());
        drop((tx, guard));
        server.restart(how).await;
        taken.extend(tokens(&pool).await);
    }
    assert!(taken.is_sorted_by(|a, b| a < b), "{taken:?}");
    database.assert_nothing_leaked(&pool).await;
}

/// A promotion in PostgreSQL takes the next timeline number that the standby knows of. A standby
/// that has not followed the last primary does not know the number of that primary, and takes it
/// again.
#[tokio::test(flavor = "multi_thread")]
async fn standby_that_did_not_follow_the_last_primary_repeats_its_tokens() {
    let pair = Pair::start().await;
    let bystander = block_in_place(|| pair.primary.server.standby()).unwrap();
    let third = Database::at(&bystander, &pair.primary.database);
    pair.primary.server.stop(Shutdown::Kill).await;
    pair.promote().await;
    let second = pair.standby.database.pool(2).await;
    skip_ahead(&second).await;
    let before = tokens(&second).await;
    pair.standby.server.stop(Shutdown::Kill).await;
    bystander.promote().await;
    let after = tokens(&third.pool(2).await).await;
    assert!(after[1] < before[0], "{before:?} {after:?}");
}
