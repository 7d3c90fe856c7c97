//! A job that every instance starts and one runs.

use advisory_tests::Database;
use futures_util::future::{LocalBoxFuture, join_all};
use sqlx::PgPool;
use tokio::sync::Semaphore;

use super::{Act, Scene, arrival, connect, work};
use crate::lane::{Ending, Lane};

#[path = "../../singleton_job.rs"]
#[expect(dead_code, reason = "it has a `main` of its own")]
mod example;

const INSTANCES: u32 = 5;

pub(crate) async fn play() -> Result<Scene, sqlx::Error> {
    let database = Database::new().await;
    let pool = database.pool(INSTANCES).await;
    connect(&pool).await?;
    example::set_up(&pool).await?;
    Ok(Scene {
        title: "Five instances start the nightly report",
        story: &["Nobody has told them about each other, and one report is enough."],
        acts: [without(&pool).await?, with(&pool).await?],
    })
}

async fn without(pool: &PgPool) -> Result<Act, sqlx::Error> {
    let runs = (0..INSTANCES as usize)
        .map(|n| instance(n, example::nightly_report_unlocked(pool, work(100))));
    let lanes = join_all(runs).await;
    let reports = example::reports(pool).await?;
    assert_eq!(reports, 5, "everyone writes one: {lanes:?}");
    Ok(Act {
        heading: "without a lock",
        lanes,
        moral: format!("{reports} reports."),
    })
}

async fn with(pool: &PgPool) -> Result<Act, sqlx::Error> {
    let before = example::reports(pool).await?;
    let skipped = Semaphore::new(0);
    let runs = (0..INSTANCES as usize).map(|n| {
        let until_the_others_are_gone = async {
            drop(skipped.acquire_many(INSTANCES - 1).await);
            work(60).await;
        };
        let run = instance(n, example::nightly_report(pool, until_the_others_are_gone));
        async {
            let lane = run.await;
            skipped.add_permits(usize::from(lane.is_skipped()));
            lane
        }
    });
    let lanes = join_all(runs).await;
    let reports = example::reports(pool).await? - before;
    assert_eq!(reports, 1, "one of them writes it: {lanes:?}");
    Ok(Act {
        heading: "#[advisory(timeout = 0, side_effect = Skip, tx)]",
        lanes,
        moral: format!("{reports} report: whoever comes first runs, and nobody waits."),
    })
}

fn instance<'a>(
    number: usize,
    run: impl Future<Output = Result<Option<i64>, sqlx::Error>> + 'a,
) -> LocalBoxFuture<'a, Lane> {
    let name = format!("instance {}", number + 1);
    Lane::record(name, arrival(number), run, |result| match result {
        Ok(Some(_)) => Ending::Done("report written".into()),
        Ok(None) => Ending::Skipped("skipped".into()),
        Err(error) => panic!("no error is to be expected: {error}"),
    })
}
