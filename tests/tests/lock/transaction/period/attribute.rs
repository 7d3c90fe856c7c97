//! `#[advisory(every = …)]`.

use std::sync::LazyLock;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, LockSession, Periods, Skipped, advisory};
use advisory_tests::{Database, scalar};
use sqlx::{Connection as _, PgConnection, PgPool, PgTransaction};

use super::{database, marks, next_period};

#[derive(Debug, PartialEq)]
enum Report {
    Done(i32),
    AlreadyDone,
}

impl Skipped for Report {
    fn skipped() -> Self {
        Self::AlreadyDone
    }
}

#[advisory(key = "{name}", every = "365d", tx)]
async fn with_tx(pool: &PgPool, name: &str) -> Result<Report, Error> {
    let one = sqlx::query_scalar("SELECT 1").fetch_one(&mut **tx).await?;
    Ok(Report::Done(one))
}

#[advisory(key = "{name}", every = "365d", offset = "3h30m")]
async fn beside(pool: &PgPool, name: &str) -> Result<Option<u32>, Error> {
    let _ = pool;
    Ok(Some(7))
}

#[advisory(key = "{name}", every = Duration::from_hours(24 * 365), timeout = 0, side_effect = Skip)]
async fn in_transaction(tx: &mut PgTransaction<'_>, name: &str) -> Result<Option<u32>, Error> {
    let _ = tx;
    Ok(Some(7))
}

#[advisory(key = "{name}", every = "52w")]
async fn on_connection(conn: &mut PgConnection, name: &str) -> Result<Option<u32>, Error> {
    let _ = conn;
    Ok(Some(7))
}

#[advisory(key = "{name}", scope = session, every = "365d")]
async fn in_session(pool: &PgPool, name: &str) -> Result<Option<u32>, Error> {
    let _ = pool;
    Ok(Some(7))
}

#[advisory(key = "{name}", scope = session, every = "365d", timeout = 0, side_effect = Skip)]
async fn on_lock_session(locks: &LockSession, name: &str) -> Result<(), sqlx::Error> {
    let _ = locks;
    if name == "fails" {
        return Err(sqlx::Error::RowNotFound);
    }
    Ok(())
}

#[advisory(key = "{name}", every = "365d", periods = "Jobs.period", tx)]
async fn in_named_table(pool: &PgPool, name: &str) -> Result<Option<u32>, Error> {
    let _ = tx;
    Ok(Some(7))
}

#[advisory(key = "{name}", scope = session, every = "365d", periods = periods)]
async fn in_table(pool: &PgPool, name: &str, periods: &Periods) -> Result<Option<u32>, Error> {
    let _ = pool;
    Ok(Some(7))
}

static PERIODS: LazyLock<Periods> = LazyLock::new(|| Periods::in_table("period").schema("Jobs"));

#[advisory(key = "{name}", every = "365d", periods = PERIODS)]
async fn in_static_table(pool: &PgPool, name: &str) -> Result<Option<u32>, Error> {
    let _ = pool;
    Ok(Some(7))
}

#[tokio::test]
async fn the_marks_are_in_the_table_that_a_function_names() {
    let (database, pool) = Database::with_pool(3).await;
    let create = sqlx::query("CREATE SCHEMA \"Jobs\"");
    create.execute(&pool).await.unwrap();
    PERIODS.create_in(&pool).await.unwrap();
    assert_eq!(in_named_table(&pool, "a").await.unwrap(), Some(7));
    assert_eq!(in_table(&pool, "a", &PERIODS).await.unwrap(), None);
    assert_eq!(in_static_table(&pool, "a").await.unwrap(), None);
    assert_eq!(in_static_table(&pool, "b").await.unwrap(), Some(7));
    assert_eq!(in_table(&pool, "c", &PERIODS).await.unwrap(), Some(7));
    let marks = "SELECT count(*) FROM \"Jobs\".period WHERE period > '-infinity'";
    assert_eq!(scalar::<i64>(&pool, marks).await, 3);
    let missing = in_table(&pool, "d", &Periods::in_table("missing")).await;
    assert!(missing.unwrap_err().to_string().contains("missing"));
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_function_runs_once_in_a_period_in_every_scope() {
    let (database, pool) = database().await;
    let locks = LockSession::new(&pool);
    for name in ["a", "b"] {
        assert_eq!(with_tx(&pool, name).await.unwrap(), Report::Done(1));
        assert_eq!(with_tx(&pool, name).await.unwrap(), Report::AlreadyDone);
        next_period(&pool).await;
        for expected in [Some(7), None] {
            assert_eq!(beside(&pool, name).await.unwrap(), expected);
        }
        next_period(&pool).await;
        for expected in [Some(7), None] {
            let mut tx = pool.begin().await.unwrap();
            assert_eq!(in_transaction(&mut tx, name).await.unwrap(), expected);
            tx.commit().await.unwrap();
        }
        next_period(&pool).await;
        for expected in [Some(7), None] {
            let mut conn = database.connection().await;
            assert_eq!(on_connection(&mut conn, name).await.unwrap(), expected);
            conn.close().await.unwrap();
        }
        next_period(&pool).await;
        for expected in [Some(7), None] {
            assert_eq!(in_session(&pool, name).await.unwrap(), expected);
        }
        next_period(&pool).await;
        on_lock_session(&locks, name).await.unwrap();
        assert_eq!(in_session(&pool, name).await.unwrap(), None);
    }
    assert_eq!(marks(&pool).await, 2);
    on_lock_session(&locks, "fails").await.unwrap_err();
    assert_eq!(marks(&pool).await, 2);
    let held = AdvisoryLock::new("c").acquire(&pool).await.unwrap();
    on_lock_session(&locks, "c").await.unwrap();
    held.release().await.unwrap();
    assert_eq!(marks(&pool).await, 2, "it was skipped");
    locks.close().await;
    drop(LockSession::new(&pool));
}
