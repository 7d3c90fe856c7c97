//! Readers that share a lock, and a writer that does not.

use std::time::Duration;

use advisory_tests::Database;
use futures_util::future::{LocalBoxFuture, join_all};
use sqlx::{PgPool, query};
use tokio::join;
use tokio::sync::Semaphore;

use super::{Act, Scene, arrival, connect, work};
use crate::lane::{Ending, Lane, State};

#[path = "../../readers_writer.rs"]
#[expect(dead_code, reason = "it has a `main` of its own")]
mod example;

/// Those that come before the writer; one more comes after it.
const EARLY: u32 = 3;

pub(crate) async fn play() -> Result<Scene, sqlx::Error> {
    let database = Database::new().await;
    let pool = database.pool(EARLY + 2).await;
    connect(&pool).await?;
    example::set_up(&pool).await?;
    let without = without(&pool).await;
    query("UPDATE price_list SET version = 1")
        .execute(&pool)
        .await?;
    Ok(Scene {
        title: "Three readers are inside when a writer comes, and one more reader",
        story: &[
            "The price list is two rows, read one by one; the writer goes from version 1",
            "to version 2 of both.",
        ],
        acts: [without, with(&database, &pool).await],
    })
}

async fn without(pool: &PgPool) -> Act {
    let (half_way, written) = (Semaphore::new(0), Semaphore::new(0));
    let between = || async {
        half_way.add_permits(1);
        drop(written.acquire().await);
        work(50).await;
    };
    let early =
        (0..EARLY as usize).map(|n| reader(n, arrival(n), example::read_unlocked(pool, between())));
    let rest = async {
        drop(half_way.acquire_many(EARLY).await);
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
    let (mut lanes, rest) = join!(join_all(early), rest);
    assert!(lanes.iter().all(Lane::is_failed), "torn: {lanes:?}");
    lanes.extend(rest);
    Act {
        heading: "without a lock",
        lanes,
        moral: "The writer falls in between: three read half of each version.".into(),
    }
}

async fn with(database: &Database, pool: &PgPool) -> Act {
    let between = || async {
        database.wait_until_waiting(2).await;
        work(50).await;
    };
    let early = (0..EARLY as usize).map(|n| reader(n, arrival(n), example::read(pool, between())));
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
    let (mut lanes, writer, late) = join!(join_all(early), writer, late);
    let (wrote, read) = (writer.since(State::Holding), late.since(State::Sharing));
    assert!(wrote < read, "the queue is fair: {writer:?} {late:?}");
    lanes.extend([writer, late]);
    assert!(
        lanes.iter().all(Lane::is_done),
        "nobody read half: {lanes:?}"
    );
    Act {
        heading: r#"#[advisory(key = "price-list", shared, tx)], and without `shared` to write"#,
        lanes,
        moral: "Readers are inside together; the late one queues behind the writer.".into(),
    }
}

fn reader<'a>(
    number: usize,
    after: Duration,
    read: impl Future<Output = Result<(i64, i64), sqlx::Error>> + 'a,
) -> LocalBoxFuture<'a, Lane> {
    let name = format!("reader {}", number + 1);
    Lane::record(name, after, read, |result| match result {
        Ok((first, second)) if first == second => Ending::Done(format!("read {first}, {second}")),
        Ok((first, second)) => Ending::Failed(format!("read {first}, {second}: torn")),
        Err(error) => panic!("no error is to be expected: {error}"),
    })
}

fn writer<'a>(
    write: impl Future<Output = Result<(), sqlx::Error>> + 'a,
) -> LocalBoxFuture<'a, Lane> {
    Lane::record("writer", Duration::ZERO, write, |result| match result {
        Ok(()) => Ending::Done("wrote 2, 2".into()),
        Err(error) => panic!("no error is to be expected: {error}"),
    })
}
