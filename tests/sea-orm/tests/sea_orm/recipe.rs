//! The recipe for sea-orm.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error};
use advisory_sea_orm_tests::recipe::{pay_interest, transfer};
use advisory_tests::{Database, Server, Shutdown, by_depth, scalar};
use sea_orm::{DatabaseConnection, TransactionTrait as _};
use sqlx::Executor as _;
use sqlx::postgres::PgPoolOptions;
use tokio::task::block_in_place;

const RECIPES: &str = include_str!("../../../../docs/RECIPES.md");

const ACCOUNTS: &str = "CREATE TABLE account (id bigint, cents bigint); \
    INSERT INTO account VALUES (1, 500), (2, 0)";

#[test]
fn recipe_is_the_tested_code() {
    let source = include_str!("../../src/recipe.rs");
    let (_, code) = source.split_once("\n\n").expect("a description, and code");
    assert!(RECIPES.contains(&format!("```rust,ignore\n{code}```\n")));
}

#[tokio::test]
async fn transfers_and_interest_are_one_transaction_each() {
    let (database, pool) = Database::with_pool(4).await;
    pool.execute(ACCOUNTS).await.unwrap();
    let db = DatabaseConnection::from(pool.clone());
    let tx = db.begin().await.unwrap();
    transfer(&tx, 1, 2, 300).await.unwrap();
    assert_eq!(database.advisory_locks().await.len(), 2);
    tx.commit().await.unwrap();
    assert_eq!(pay_interest(&db, 1).await.unwrap(), Some(2));
    let holder = AdvisoryLock::new("interest").begin(&pool).await.unwrap();
    assert_eq!(pay_interest(&db, 1).await.unwrap(), None);
    holder.rollback().await.unwrap();
    let sum = "SELECT sum(cents)::bigint FROM account";
    assert_eq!(scalar::<i64>(&pool, sum).await, 502);

    let holder = AdvisoryLock::new("account:2").begin(&pool).await.unwrap();
    let tx = db.begin().await.unwrap();
    let error = transfer(&tx, 1, 2, 300).await.unwrap_err();
    assert!(Error::from(error).is_not_acquired());
    tx.commit().await.unwrap();
    holder.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_again_after_an_outage() {
    let (outage, patience) = by_depth((3, 1), (48, 30));
    let server = block_in_place(Server::start).unwrap();
    let database = Database::on(&server).await;
    let pool = PgPoolOptions::new().acquire_timeout(Duration::from_secs(patience));
    let pool = pool.connect_with(database.options()).await.unwrap();
    pool.execute(ACCOUNTS).await.unwrap();
    let db = DatabaseConnection::from(pool.clone());
    let cut_off = db.begin().await.unwrap();
    transfer(&cut_off, 1, 2, 300).await.unwrap();
    server.stop(Shutdown::Fast).await;
    cut_off.commit().await.unwrap_err();
    pay_interest(&db, 1).await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(outage)).await;
    server.restart(Shutdown::Fast).await;
    let tx = db.begin().await.unwrap();
    transfer(&tx, 1, 2, 300).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(pay_interest(&db, 1).await.unwrap(), Some(2));
    let other = "SELECT cents FROM account WHERE id = 2";
    assert_eq!(scalar::<i64>(&pool, other).await, 301);
    database.assert_nothing_leaked(&pool).await;
}
