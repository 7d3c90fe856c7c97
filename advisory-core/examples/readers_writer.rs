//! Readers share a lock with each other, and a writer does not write while they read.
//!
//! A price list has two rows that belong together. A reader reads them with two statements. If a
//! writer commits between the two, the read is torn: one row is from the old version and one from
//! the new. Under a `shared` lock any number of readers run at the same time. The writer takes an
//! exclusive lock, so it waits for the readers, and readers wait for it.
//!
//! The output shows a torn read without the lock. With the lock, three readers read at the same
//! time, and no read is torn.
//!
//! ```text
//! cargo run --example readers_writer
//! ```

use advisory_core::advisory;
use advisory_tests::Database;
use futures_util::future::join_all;
use sqlx::{PgPool, PgTransaction, query, query_scalar};
use tokio::join;
use tokio::sync::{Barrier, Notify};

const READERS: usize = 3;

/// Reads both halves. Any number of readers run at a time, and no writer.
#[advisory(key = "price-list", shared, tx)]
pub(crate) async fn read(
    pool: &PgPool,
    between: impl Future<Output = ()>,
) -> Result<(i64, i64), sqlx::Error> {
    read_both(tx, between).await
}

/// Awaits `before` and writes both halves. No reader and no other writer runs meanwhile.
#[advisory(key = "price-list", tx)]
pub(crate) async fn write(
    pool: &PgPool,
    version: i64,
    before: impl Future<Output = ()>,
) -> Result<(), sqlx::Error> {
    before.await;
    write_both(tx, version).await
}

/// Reads both halves without the lock.
pub(crate) async fn read_unlocked(
    pool: &PgPool,
    between: impl Future<Output = ()>,
) -> Result<(i64, i64), sqlx::Error> {
    let mut tx = pool.begin().await?;
    read_both(&mut tx, between).await
}

/// Writes both halves without the lock.
pub(crate) async fn write_unlocked(
    pool: &PgPool,
    version: i64,
    before: impl Future<Output = ()>,
) -> Result<(), sqlx::Error> {
    before.await;
    let mut tx = pool.begin().await?;
    write_both(&mut tx, version).await?;
    tx.commit().await
}

/// Reads the first half, awaits `between`, and reads the second half.
async fn read_both(
    tx: &mut PgTransaction<'_>,
    between: impl Future<Output = ()>,
) -> Result<(i64, i64), sqlx::Error> {
    let version = "SELECT version FROM price_list WHERE half = $1";
    let first = query_scalar(version).bind(1).fetch_one(&mut **tx).await?;
    between.await;
    let second = query_scalar(version).bind(2).fetch_one(&mut **tx).await?;
    Ok((first, second))
}

async fn write_both(tx: &mut PgTransaction<'_>, version: i64) -> Result<(), sqlx::Error> {
    let write = query("UPDATE price_list SET version = $1").bind(version);
    write.execute(&mut **tx).await.map(drop)
}

/// Creates version 1 of both halves.
pub(crate) async fn set_up(pool: &PgPool) -> Result<(), sqlx::Error> {
    let table = "CREATE TABLE price_list (half int PRIMARY KEY, version bigint NOT NULL)";
    query(table).execute(pool).await?;
    let halves = "INSERT INTO price_list VALUES (1, 1), (2, 1)";
    query(halves).execute(pool).await.map(drop)
}

#[tokio::main]
async fn main() -> Result<(), sqlx::Error> {
    let database = Database::new().await; // on a private server, started for this example
    let pool = database.pool(10).await;
    set_up(&pool).await?;

    // The writer starts after the first read, and the second read starts after the writer's commit.
    let (first_read, written) = (Notify::new(), Notify::new());
    let between = async {
        first_read.notify_one();
        written.notified().await;
    };
    let (torn, wrote) = join!(read_unlocked(&pool, between), async {
        let wrote = write_unlocked(&pool, 2, first_read.notified()).await;
        written.notify_one();
        wrote
    });
    wrote?;
    let torn = torn?;
    println!("without the lock: one reader saw versions {torn:?}");
    assert_eq!(torn, (1, 2), "the read is torn");

    // Each reader pauses between its two reads until all readers hold the lock and the writer waits
    // for it.
    let all_reading = Barrier::new(READERS);
    let between = || async {
        all_reading.wait().await;
        database.wait_until_waiting(1).await;
    };
    let readers = join_all((0..READERS).map(|_| read(&pool, between())));
    let (seen, wrote) = join!(readers, async {
        database.wait_until_held(READERS).await;
        write(&pool, 3, async {}).await
    });
    wrote?;
    for seen in seen {
        let seen = seen?;
        println!("with the lock:    one reader saw versions {seen:?}");
        assert_eq!(
            seen,
            (2, 2),
            "the writer writes after the readers have finished"
        );
    }
    let after = read(&pool, async {}).await?;
    println!("after the writer: one reader saw versions {after:?}");
    assert_eq!(after, (3, 3), "the writer has written both halves");
    Ok(())
}
