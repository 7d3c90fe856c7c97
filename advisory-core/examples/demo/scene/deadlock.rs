//! Two writers in opposite order.

use std::time::Duration;

use advisory_tests::Database;
use futures_util::future::LocalBoxFuture;
use sqlx::PgPool;
use tokio::join;
use tokio::sync::Barrier;

use super::{Act, Scene, connect, work};
use crate::lane::{Ending, Lane, State, enter};

#[path = "../../deadlock.rs"]
#[expect(dead_code, reason = "it has a `main` of its own")]
mod example;

pub(crate) async fn play() -> Result<Scene, sqlx::Error> {
    let database = Database::new().await;
    let pool = example::impatient_pool(&database).await?;
    connect(&pool).await?;
    example::set_up(&pool).await?;
    Ok(Scene {
        title: "Two writers take the same two rows in opposite order",
        story: &[
            "Each has its first row and wants the other's. PostgreSQL notices after",
            "`deadlock_timeout`, 100 ms here, and ends one of the two.",
        ],
        acts: [without(&pool).await, with(&database, &pool).await],
    })
}

async fn without(pool: &PgPool) -> Act {
    let both_have_one = Barrier::new(2);
    let between = || async {
        work(60).await;
        both_have_one.wait().await;
        enter(State::Waiting); // for the other's row
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
        "one loses: {there:?} {back:?}"
    );
    Act {
        heading: "without a lock",
        lanes: vec![there, back],
        moral: "Each waits for the other: one is ended and has to start over.".into(),
    }
}

async fn with(database: &Database, pool: &PgPool) -> Act {
    let until_the_other_waits = async {
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
            example::rename(pool, [1, 2], "there", until_the_other_waits)
        ),
        second,
    );
    assert!(
        there.is_done() && back.is_done(),
        "both get through: {there:?} {back:?}"
    );
    Act {
        heading: r#"#[advisory(key = "book.rename", tx)]"#,
        lanes: vec![there, back],
        moral: "One after the other: the order of the rows does not matter any more.".into(),
    }
}

fn writer<'a>(
    name: &str,
    rename: impl Future<Output = Result<(), sqlx::Error>> + 'a,
) -> LocalBoxFuture<'a, Lane> {
    Lane::record(name, Duration::ZERO, rename, |result| match result {
        Ok(()) => Ending::Done("renamed".into()),
        result if example::is_deadlock(&result) => Ending::Failed("deadlock (40P01)".into()),
        Err(error) => panic!("no other error is to be expected: {error}"),
    })
}
