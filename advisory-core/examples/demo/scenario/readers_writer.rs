//! Readers share a lock, and a writer holds it exclusively.

use std::time::Duration;

use advisory_tests::Database;
use futures_util::future::{LocalBoxFuture, join_all};
use sqlx::{PgPool, query};
use tokio::join;
use tokio::sync::Semaphore;

use super::{Run, Scenario, connect, start_delay, work};
use crate::timeline::{Ending, State, Timeline};

#[path = "../../readers_writer.rs"]
#[expect(dead_code, reason = "the example has its own `main`")]
mod example;

/// The number of readers that start before the writer; one more starts after it.
const EARLY: u32 = 3;

pub(crate) async fn run() -> Result<Scenario, sqlx::Error> {
    let database = Database::new().await;
    let pool = database.pool(EARLY + 2).await;
    connect(&pool).await?;
    example::set_up(&pool).await?;
    let without = without(&pool).await;
    query("UPDATE price_list SET version = 1")
        .execute(&pool)
        .await?;
    Ok(Scenario {
        title: "A writer and a fourth reader arrive while three readers read",
        description: &[
            "A price list has two rows. A reader reads them one by one, and the writer",
            "changes both from version 1 to version 2.",
        ],
        runs: [without, with(&database, &pool).await],
    })
}

async fn without(pool: &PgPool) -> Run {
    let (first_read, written) = (Semaphore::new(0), Semaphore::new(0));
    let between = || async {
        first_read.add_permits(1);
        drop(written.acquire().await);
        work(50).await;
    };
    let early = (0..EARLY as usize)
        .map(|n| reader(n, start_delay(n), example::read_unlocked(pool, between())));
    let rest = async {
        drop(first_read.acquire_many(EARLY).await);
        let wrote = writer(example::write_unlocked(pool, 2, work(50))).await;
        written.add_permits(EARLY as usize);
        let late = reader(
            EARLY as usize,
            Duration::ZERO,
            example::read_unlocked(pool, work(50)),
        )
        .await;
        [wrote, late]
    };
    let (mut timelines, rest) = join!(join_all(early), rest);
    assert!(
        timelines.iter().all(Timeline::is_failed),
        "every early reader sees both versions: {timelines:?}"
    );
    timelines.extend(rest);
    Run {
        heading: "without a lock",
        timelines,
        conclusion: "The writer commits between two reads: three readers see both versions.".into(),
    }
}

async fn with(database: &Database, pool: &PgPool) -> Run {
    let between = || async {
        database.wait_until_waiting(2).await;
        work(50).await;
    };
    let early =
        (0..EARLY as usize).map(|n| reader(n, start_delay(n), example::read(pool, between())));
    let writer = async {
        database.wait_until_held(EARLY as usize).await;
        writer(example::write(pool, 2, work(50))).await
    };
    let late = async {
        database.wait_until_waiting(1).await;
        reader(
            EARLY as usize,
            Duration::ZERO,
            example::read(pool, work(50)),
        )
        .await
    };
    let (mut timelines, writer, late) = join!(join_all(early), writer, late);
    let (wrote, read) = (writer.since(State::Holding), late.since(State::Sharing));
    assert!(wrote < read, "the queue is fair: {writer:?} {late:?}");
    timelines.extend([writer, late]);
    assert!(
        timelines.iter().all(Timeline::is_done),
        "no reader sees both versions: {timelines:?}"
    );
    Run {
        heading: r#"#[advisory(key = "price-list", shared, tx)], and without `shared` to write"#,
        timelines,
        conclusion: "Readers share the lock; the late one queues behind the writer.".into(),
    }
}

fn reader<'a>(
    number: usize,
    delay: Duration,
    read: impl Future<Output = Result<(i64, i64), sqlx::Error>> + 'a,
) -> LocalBoxFuture<'a, Timeline> {
    let name = format!("reader {}", number + 1);
    Timeline::record(name, delay, read, |result| match result {
        Ok((first, second)) if first == second => Ending::Done(format!("read {first}, {second}")),
        Ok((first, second)) => Ending::Failed(format!("read {first}, {second}: torn")),
        Err(error) => panic!("expected no error, found {error}"),
    })
}

fn writer<'a>(
    write: impl Future<Output = Result<(), sqlx::Error>> + 'a,
) -> LocalBoxFuture<'a, Timeline> {
    Timeline::record("writer", Duration::ZERO, write, |result| match result {
        Ok(()) => Ending::Done("wrote 2, 2".into()),
        Err(error) => panic!("expected no error, found {error}"),
    })
}
