//! Two writers update the same rows in opposite order.

use std::time::Duration;

use advisory_tests::Database;
use futures_util::future::LocalBoxFuture;
use sqlx::PgPool;
use tokio::join;
use tokio::sync::Barrier;

use super::{Run, Scenario, connect, work};
use crate::timeline::{Ending, State, Timeline, enter};

#[path = "../../deadlock.rs"]
#[expect(dead_code, reason = "the example has its own `main`")]
mod example;

pub(crate) async fn run() -> Result<Scenario, sqlx::Error> {
    let database = Database::new().await;
    let pool = example::pool_with_deadlock_timeout(&database).await?;
    connect(&pool).await?;
    example::set_up(&pool).await?;
    Ok(Scenario {
        title: "Two writers update the same two rows in opposite order",
        description: &[
            "Each has locked its first row and waits for the other's. PostgreSQL detects",
            "the deadlock after `deadlock_timeout`, 100 ms here, and aborts one of the two.",
        ],
        runs: [without(&pool).await, with(&database, &pool).await],
    })
}

async fn without(pool: &PgPool) -> Run {
    let both_updated_one = Barrier::new(2);
    let between = || async {
        work(60).await;
        both_updated_one.wait().await;
        enter(State::Waiting); // for the row that the other writer has locked
    };
    let (there, back) = join!(
        writer(
            "books 1, 2",
            example::rename_unlocked(pool, [1, 2], "there", between())
        ),
        writer(
            "books 2, 1",
            example::rename_unlocked(pool, [2, 1], "back", between())
        ),
    );
    assert!(
        there.is_failed() != back.is_failed(),
        "one of the two is aborted: {there:?} {back:?}"
    );
    Run {
        heading: "without a lock",
        timelines: vec![there, back],
        conclusion: "Each waits for the other: one is aborted and has to start over.".into(),
    }
}

async fn with(database: &Database, pool: &PgPool) -> Run {
    let until_other_waits = async {
        database.wait_until_waiting(1).await;
        work(60).await;
    };
    let second = async {
        database.wait_until_held(1).await;
        writer(
            "books 2, 1",
            example::rename(pool, [2, 1], "back", work(60)),
        )
        .await
    };
    let (there, back) = join!(
        writer(
            "books 1, 2",
            example::rename(pool, [1, 2], "there", until_other_waits)
        ),
        second,
    );
    assert!(
        there.is_done() && back.is_done(),
        "both succeed: {there:?} {back:?}"
    );
    Run {
        heading: r#"#[advisory(key = "book.rename", tx)]"#,
        timelines: vec![there, back],
        conclusion: "They run one after the other: the order of the rows no longer matters.".into(),
    }
}

fn writer<'a>(
    name: &str,
    rename: impl Future<Output = Result<(), sqlx::Error>> + 'a,
) -> LocalBoxFuture<'a, Timeline> {
    Timeline::record(name, Duration::ZERO, rename, |result| match result {
        Ok(()) => Ending::Done("renamed".into()),
        result if example::is_deadlock(&result) => Ending::Failed("deadlock (40P01)".into()),
        Err(error) => panic!("unexpected error: {error}"),
    })
}
