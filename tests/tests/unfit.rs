//! Servers on which a lock would not exclude others are refused: a server whose functions lock
//! nothing, a server without the functions, and a standby.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Isolation, advisory};
use advisory_tests::{Database, Server};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, PgTransaction};

#[advisory(key = 1)]
async fn on_pool(pool: &PgPool) -> Result<(), Error> {
    let _ = pool;
    Ok(())
}

#[advisory(key = 1, scope = session)]
async fn in_session(pool: &PgPool) -> Result<(), Error> {
    let _ = pool;
    Ok(())
}

#[advisory(key = 1)]
async fn on_connection(conn: &mut PgConnection) -> Result<(), Error> {
    let _ = conn;
    Ok(())
}

#[advisory(key = 1, timeout = 0, side_effect = Skip)]
async fn on_connection_or_skip(conn: &mut PgConnection) -> Result<(), Error> {
    let _ = conn;
    Ok(())
}

#[advisory(key = 1)]
async fn on_transaction(tx: &mut PgTransaction<'_>) -> Result<(), Error> {
    let _ = tx;
    Ok(())
}

/// The outcome of every verb.
async fn every_verb(database: &Database) -> Vec<(&'static str, Result<(), Error>)> {
    let mut outcomes = Vec::new();
    let lock = AdvisoryLock::new(1);
    let timeout = lock.clone().timeout(Duration::from_secs(5));
    let several = AdvisoryLock::all([1, 2]);
    // A new pool for each verb, whose connections have not been probed.
    macro_rules! on_a_pool {
        ($($name:literal => |$pool:ident| $verb:expr;)+) => {$(
            let $pool = database.pool(2).await;
            outcomes.push(($name, $verb.await.map(drop)));
            database.assert_nothing_leaked(&$pool).await;
            $pool.close().await;
        )+};
    }
    on_a_pool! {
        "begin" => |pool| lock.begin(&pool);
        "begin, with a timeout" => |pool| timeout.begin(&pool);
        "begin, several keys" => |pool| several.begin(&pool);
        "begin, isolated" => |pool| lock.clone().isolation(Isolation::RepeatableRead).begin(&pool);
        "begin, polling" => |pool| lock.clone().polling(Duration::from_millis(1)).begin(&pool);
        "try_begin" => |pool| lock.try_begin(&pool);
        "transaction" => |pool| lock.transaction(&pool, async |_| Ok::<_, Error>(()));
        "try_transaction" => |pool| lock.try_transaction(&pool, async |_| Ok::<_, Error>(()));
        "acquire" => |pool| lock.acquire(&pool);
        "acquire, with a timeout" => |pool| timeout.acquire(&pool);
        "acquire, several keys" => |pool| several.acquire(&pool);
        "try_acquire" => |pool| lock.try_acquire(&pool);
        "try_acquire, several keys" => |pool| several.try_acquire(&pool);
        "attribute on a pool" => |pool| on_pool(&pool);
        "attribute in a session" => |pool| in_session(&pool);
    }
    let mut conn = database.connection().await;
    outcomes.push(("attribute on a connection", on_connection(&mut conn).await));
    let skipping = on_connection_or_skip(&mut conn).await;
    outcomes.push(("attribute that skips", skipping));
    let mut tx = conn.begin().await.unwrap();
    // The transaction remains usable.
    macro_rules! in_a_transaction {
        ($($name:literal => $verb:expr;)+) => {$(
            outcomes.push(($name, $verb.await.map(drop)));
            tx.execute("SELECT 1").await.unwrap();
        )+};
    }
    in_a_transaction! {
        "attribute on a transaction" => on_transaction(&mut tx);
        "acquire_xact" => lock.acquire_xact(&mut tx);
        "acquire_xact, with a timeout" => timeout.acquire_xact(&mut tx);
        "acquire_xact, several keys" => several.acquire_xact(&mut tx);
        "try_acquire_xact" => lock.try_acquire_xact(&mut tx);
        "try_acquire_xact, several keys" => several.try_acquire_xact(&mut tx);
        "xact_lock" => advisory_core::xact_lock(&mut tx, 1);
        "xact_lock_shared" => advisory_core::xact_lock_shared(&mut tx, (1, 2));
        "try_xact_lock" => advisory_core::try_xact_lock(&mut tx, 1);
        "try_xact_lock_shared" => advisory_core::try_xact_lock_shared(&mut tx, 1);
        "lock" => advisory_core::lock(&mut tx, 1);
        "lock_shared" => advisory_core::lock_shared(&mut tx, 1);
        "try_lock" => advisory_core::try_lock(&mut tx, 1);
        "try_lock_shared" => advisory_core::try_lock_shared(&mut tx, (1, 2));
    }
    tx.rollback().await.unwrap();
    outcomes
}

fn assert_unsupported(outcomes: Vec<(&'static str, Result<(), Error>)>, reason: &str) {
    for (verb, outcome) in outcomes {
        match outcome {
            Err(Error::Unsupported { reason: found, .. }) => {
                assert!(found.to_string().contains(reason), "{verb}: {found}");
            }
            other => panic!("{verb}: {other:?}"),
        }
    }
}

fn assert_granted(outcomes: Vec<(&'static str, Result<(), Error>)>) {
    for (verb, outcome) in outcomes {
        assert!(outcome.is_ok(), "{verb}: {outcome:?}");
    }
}

/// Replaces PostgreSQL's functions in this database by functions that do nothing. They must have
/// new ids, because the server calls its built-in functions by id and ignores the catalogue.
async fn replace_lock_functions(database: &Database) {
    let mut conn = database.connection().await;
    for arguments in ["bigint", "int, int"] {
        for mode in ["", "_shared"] {
            for scope in ["", "_xact"] {
                let (waits, tries) = (
                    format!("pg_advisory{scope}_lock{mode}"),
                    format!("pg_try_advisory{scope}_lock{mode}"),
                );
                let lock = format!(
                    "ALTER FUNCTION pg_catalog.{waits}({arguments}) RENAME TO own_{waits}; \
                     ALTER FUNCTION pg_catalog.{tries}({arguments}) RENAME TO own_{tries}; \
                     CREATE FUNCTION pg_catalog.{waits}({arguments}) RETURNS void LANGUAGE sql AS 'SELECT'; \
                     CREATE FUNCTION pg_catalog.{tries}({arguments}) RETURNS boolean LANGUAGE sql AS 'SELECT true'"
                );
                conn.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(lock)))
                    .await
                    .unwrap();
            }
        }
    }
}

#[tokio::test]
async fn server_whose_functions_lock_nothing_is_refused() {
    let database = Database::new().await;
    replace_lock_functions(&database).await;
    assert_unsupported(every_verb(&database).await, "does not hold");
}

#[tokio::test]
async fn lock_on_no_keys_does_not_count_as_a_probe() {
    let database = Database::new().await;
    replace_lock_functions(&database).await;
    let pool = database.pool(1).await;
    let nothing = AdvisoryLock::all([0_i64; 0]);
    nothing
        .begin(&pool)
        .await
        .unwrap()
        .rollback()
        .await
        .unwrap();
    let outcome = AdvisoryLock::new(1).begin(&pool).await.map(drop);
    assert_unsupported(vec![("begin", outcome)], "does not hold");
}

#[tokio::test]
async fn server_without_the_functions_is_refused() {
    let database = Database::new().await;
    let mut conn = database.connection().await;
    conn.execute("ALTER FUNCTION pg_catalog.pg_advisory_xact_lock(bigint) RENAME TO not_here")
        .await
        .unwrap();
    let pool = database.pool(1).await;
    let error = AdvisoryLock::new(1).begin(&pool).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    let what = error.to_string();
    assert!(
        what.contains("pg_advisory_xact_lock") && what.contains("PostgreSQL 14"),
        "{what}"
    );
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn standby_is_refused_until_it_is_promoted() {
    let primary = Server::start().unwrap();
    let database = Database::on(&primary).await;
    let standby = primary.standby().unwrap();
    let second = Database::at(&standby, &database);
    assert_unsupported(every_verb(&second).await, "standby");
    standby.promote().await;
    assert_granted(every_verb(&second).await);
}

#[tokio::test]
async fn working_server_grants_every_verb() {
    let database = Database::new().await;
    assert_granted(every_verb(&database).await);
}
