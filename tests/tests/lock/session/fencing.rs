//! Fencing tokens grow with every grant.

use advisory_core::{AdvisoryLock, Error, fencing_token};
use advisory_tests::{Database, Proxy};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

#[tokio::test]
async fn tokens_grow_from_grant_to_grant_in_both_scopes() {
    let (database, pool) = Database::with_pool(2).await;
    let lock = AdvisoryLock::new("report");
    let mut tokens = Vec::new();
    for _ in 0..20 {
        let mut guard = lock.acquire(&pool).await.unwrap();
        tokens.push(guard.fencing_token().await.unwrap());
        guard.release().await.unwrap();
        let token = lock.transaction(&pool, async |tx| fencing_token(tx).await);
        tokens.push(token.await.unwrap());
    }
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
    assert!(tokens[0] > 0);
    database.assert_nothing_leaked(&pool).await;
}

/// The transaction id is no fencing token: it is assigned at the first write, which may precede the
/// wait.
#[tokio::test]
async fn transaction_that_wrote_before_it_waited_has_the_greater_token() {
    let (_database, pool) = Database::with_pool(2).await;
    pool.execute("CREATE TABLE t (n int)").await.unwrap();
    let lock = AdvisoryLock::new("report");
    let mut early = pool.begin().await.unwrap();
    early.execute("INSERT INTO t VALUES (1)").await.unwrap();
    let mut late = lock.begin(&pool).await.unwrap();
    late.execute("INSERT INTO t VALUES (2)").await.unwrap();
    let first = fencing_token(&mut late).await.unwrap();
    late.commit().await.unwrap();
    lock.acquire_xact(&mut early).await.unwrap();
    let second = fencing_token(&mut early).await.unwrap();
    assert!(first < second, "{first} {second}");
}

#[tokio::test]
async fn token_needs_one_round_trip_and_no_privileges() {
    let database = Database::new().await;
    let role = database.role().await;
    let proxy = Proxy::start(&database).await;
    let mut conn = PgConnection::connect_with(&proxy.options()).await.unwrap();
    let set = format!(
        "SET ROLE \"{}\"; SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        role.get_username()
    );
    conn.execute(sqlx::raw_sql(AssertSqlSafe(set)))
        .await
        .unwrap();
    let mut tx = conn.begin().await.unwrap();
    proxy.reset();
    fencing_token(&mut tx).await.unwrap();
    assert_eq!(proxy.round_trips(), 1, "{}", proxy.dump());
}

#[tokio::test]
async fn token_outside_a_transaction_sends_nothing() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let mut conn = PgConnection::connect_with(&proxy.options()).await.unwrap();
    proxy.reset();
    let error = fencing_token(&mut conn).await.unwrap_err();
    assert!(matches!(error, Error::NotInTransaction), "{error}");
    assert_eq!(proxy.round_trips(), 0);
}

#[tokio::test]
async fn lost_guard_has_no_token() {
    let (database, pool) = Database::with_pool(2).await;
    let mut guard = AdvisoryLock::new("report").acquire(&pool).await.unwrap();
    database.terminate_lockers().await;
    assert!(guard.fencing_token().await.unwrap_err().is_lost());
}
