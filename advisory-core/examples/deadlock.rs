//! Two writers update the same two rows in opposite order. They deadlock, unless they run one after
//! the other.
//!
//! Each writer has locked one row and waits for the other's. PostgreSQL detects the deadlock after
//! `deadlock_timeout` and aborts one of the two with SQLSTATE 40P01. In this example the deadlock
//! always happens: each writer goes on to its second row only when both have updated their first.
//!
//! The output shows the deadlock without the lock, and two successful writers with it.
//!
//! ```text
//! cargo run --example deadlock
//! ```

use advisory_core::advisory;
use advisory_tests::Database;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{PgTransaction, query, query_scalar};
use tokio::join;
use tokio::sync::Barrier;

/// The SQLSTATE `deadlock_detected`.
const DEADLOCK_DETECTED: &str = "40P01";

/// Updates two books. One writer runs at a time, whichever books it updates.
#[advisory(key = "book.rename", tx)]
pub(crate) async fn rename(
    pool: &PgPool,
    books: [i64; 2],
    name: &str,
    between: impl Future<Output = ()>,
) -> Result<(), sqlx::Error> {
    rename_both(tx, books, name, between).await
}

/// Updates two books without the lock.
pub(crate) async fn rename_unlocked(
    pool: &PgPool,
    books: [i64; 2],
    name: &str,
    between: impl Future<Output = ()>,
) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    rename_both(&mut tx, books, name, between).await?;
    tx.commit().await
}

/// Updates the first row, awaits `between`, and updates the second row.
async fn rename_both(
    tx: &mut PgTransaction<'_>,
    [first, second]: [i64; 2],
    name: &str,
    between: impl Future<Output = ()>,
) -> Result<(), sqlx::Error> {
    let rename = "UPDATE book SET name = $2 WHERE id = $1";
    query(rename)
        .bind(first)
        .bind(name)
        .execute(&mut **tx)
        .await?;
    between.await;
    query(rename)
        .bind(second)
        .bind(name)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// A pool whose sessions check for deadlocks after a wait of 100 ms. PostgreSQL's default is 1 s.
pub(crate) async fn pool_with_deadlock_timeout(database: &Database) -> Result<PgPool, sqlx::Error> {
    let options = database.options().options([("deadlock_timeout", "100ms")]);
    let pool = PgPoolOptions::new().max_connections(2);
    pool.connect_with(options).await
}

/// Creates two books.
pub(crate) async fn set_up(pool: &PgPool) -> Result<(), sqlx::Error> {
    let table = "CREATE TABLE book (id bigint PRIMARY KEY, name text NOT NULL)";
    query(table).execute(pool).await?;
    let books = "INSERT INTO book VALUES (1, 'one'), (2, 'two')";
    query(books).execute(pool).await.map(drop)
}

/// Whether PostgreSQL aborted this writer to resolve a deadlock.
pub(crate) fn is_deadlock(result: &Result<(), sqlx::Error>) -> bool {
    let error = result
        .as_ref()
        .err()
        .and_then(sqlx::Error::as_database_error);
    error.is_some_and(|error| error.code().as_deref() == Some(DEADLOCK_DETECTED))
}

#[tokio::main]
async fn main() -> Result<(), sqlx::Error> {
    let database = Database::new().await; // on a private server, started for this example
    let pool = pool_with_deadlock_timeout(&database).await?;
    set_up(&pool).await?;

    let both_updated_one = Barrier::new(2);
    let between = || async {
        both_updated_one.wait().await;
    };
    let (there, back) = join!(
        rename_unlocked(&pool, [1, 2], "there", between()),
        rename_unlocked(&pool, [2, 1], "back", between()),
    );
    println!("without the lock, there: {}", outcome(&there));
    println!("without the lock, back:  {}", outcome(&back));
    assert!(
        is_deadlock(&there) != is_deadlock(&back),
        "exactly one of the two is aborted"
    );
    assert!(there.is_ok() != back.is_ok(), "the other one succeeds");

    // The first writer pauses between its two rows until the second one waits for the lock.
    let (there, back) = join!(
        rename(&pool, [1, 2], "there", database.wait_until_waiting(1)),
        async {
            database.wait_until_held(1).await;
            rename(&pool, [2, 1], "back", async {}).await
        },
    );
    println!("with the lock, there:    {}", outcome(&there));
    println!("with the lock, back:     {}", outcome(&back));
    there.and(back)?;

    let names: Vec<String> = query_scalar("SELECT DISTINCT name FROM book")
        .fetch_all(&pool)
        .await?;
    assert_eq!(names, ["back"], "the second writer renamed both books last");
    Ok(())
}

fn outcome(result: &Result<(), sqlx::Error>) -> String {
    match result {
        Ok(()) => "both books renamed".to_owned(),
        Err(error) => error.to_string(),
    }
}
