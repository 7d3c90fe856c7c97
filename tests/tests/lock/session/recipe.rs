//! The SQL of docs/RECIPES.md works as described. The doctests of `advisory-core` compile all Rust
//! code of the page, and `tests/recipes` runs most of it.

use advisory_core::AdvisoryLock;
use advisory_tests::{Database, scalar};
use sqlx::{AssertSqlSafe, Row as _};

const RECIPES: &str = include_str!("../../../../docs/RECIPES.md");

/// The block of SQL that contains these words.
fn sql(words: &str) -> AssertSqlSafe<&'static str> {
    let blocks = RECIPES.split("```sql\n").skip(1);
    let mut blocks = blocks.map(|block| block.split("```").next().unwrap_or_default());
    AssertSqlSafe(
        blocks
            .find(|block| block.contains(words))
            .expect("there is such a block"),
    )
}

#[tokio::test]
async fn fence_accepts_newer_tokens_and_refuses_older_ones() {
    let (_database, pool) = Database::with_pool(1).await;
    let done = sqlx::raw_sql(sql("UPDATE sweep"))
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 1 + 1, "inserted, updated");
    let late = "UPDATE sweep SET fence = 41 WHERE fence <= 41";
    let late = sqlx::raw_sql(late).execute(&pool).await.unwrap();
    assert_eq!(late.rows_affected(), 0);
}

#[tokio::test]
async fn pairs_are_readable_in_pg_locks_and_idle_holders_are_found() {
    let (database, pool) = Database::with_pool(2).await;
    let other = AdvisoryLock::new((2, 8)).acquire(&pool).await.unwrap();
    let mut tx = AdvisoryLock::new((1, 7)).begin(&pool).await.unwrap();
    let pid: i32 = scalar(&mut *tx, "SELECT pg_backend_pid()").await;

    let mut looks = database.connection().await;
    let imports = sqlx::query(sql("AS tenant"))
        .fetch_all(&mut looks)
        .await
        .unwrap();
    let found: Vec<(i32, bool)> = imports
        .iter()
        .map(|row| (row.get("pid"), row.get("granted")))
        .collect();
    assert_eq!(found, [(pid, true)]);

    let idle = sqlx::query(sql("idle_for"))
        .fetch_all(&mut looks)
        .await
        .unwrap();
    // Other tests have idle transactions in other databases.
    let here = database.advisory_locks().await;
    let is_here = |pid: &i32| here.iter().any(|lock| lock.pid == *pid);
    let found = idle.iter().map(|row| row.get("pid")).filter(is_here);
    let found: Vec<i32> = found.collect();
    assert_eq!(
        found,
        [pid],
        "a session lock that is held outside a transaction is no fault"
    );
    tx.rollback().await.unwrap();
    other.release().await.unwrap();
}
