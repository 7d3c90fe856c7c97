//! Readers share a lock with each other, and keep the writer out while they read.
//!
//! A price list is two rows that belong together. A reader that takes them with two statements may
//! have a writer's commit fall in between, and reads half of each. Under a `shared` lock any number
//! of readers are inside together; the writer, whose lock is exclusive, waits for them, and they
//! for it.
//!
//! You will see a torn read without the lock, and with it three readers inside at once, none of
//! them torn.
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

/// Reads while no one writes: any number at a time.
#[advisory(key = "price-list", shared, tx)]
pub(crate) async fn read(
    pool: &PgPool,
    between: impl Future<Output = ()>,
) -> Result<(i64, i64), sqlx::Error> {
    read_both(tx, between).await
}

/// Writes while no one reads or writes.
#[advisory(key = "price-list", tx)]
pub(crate) async fn write(
    pool: &PgPool,
    version: i64,
    before: impl Future<Output = ()>,
) -> Result<(), sqlx::Error> {
    before.await;
    write_both(tx, version).await
}

/// A reader without the lock.
pub(crate) async fn read_unlocked(
    pool: &PgPool,
    between: impl Future<Output = ()>,
) -> Result<(i64, i64), sqlx::Error> {
    let mut tx = pool.begin().await?;
    read_both(&mut tx, between).await
}

/// A writer without the lock.
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

/// Reads one half, then the other.
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

    // The writer comes when the reader is half-way, and the reader goes on when it has written.
    let (half_way, written) = (Notify::new(), Notify::new());
    let between = async {
        half_way.notify_one();
        written.notified().await;
    };
    let (torn, wrote) = join!(read_unlocked(&pool, between), async {
        let wrote = write_unlocked(&pool, 2, half_way.notified()).await;
        written.notify_one();
        wrote
    });
    wrote?;
    let torn = torn?;
    println!("without the lock: one reader saw versions {torn:?}");
    assert_eq!(torn, (1, 2), "half of one version and half of the next");

    // The readers meet half-way, which they can do only if all are inside; the writer is waiting
    // outside by then.
    let all_inside = Barrier::new(READERS);
    let between = || async {
        all_inside.wait().await;
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
        assert_eq!(seen, (2, 2), "the writer came after the readers");
    }
    let after = read(&pool, async {}).await?;
    println!("after the writer: one reader saw versions {after:?}");
    assert_eq!(after, (3, 3), "and it came to both halves");
    Ok(())
}
