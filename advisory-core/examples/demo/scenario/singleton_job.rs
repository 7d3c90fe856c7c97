//! Every instance starts a job, and one instance runs it.

use advisory_tests::Database;
use futures_util::future::{LocalBoxFuture, join_all};
use sqlx::PgPool;
use tokio::sync::Semaphore;

use super::{Run, Scenario, connect, start_delay, work};
use crate::timeline::{Ending, Timeline};

#[path = "../../singleton_job.rs"]
#[expect(dead_code, reason = "the example has its own `main`")]
mod example;

const INSTANCES: u32 = 5;

pub(crate) async fn run() -> Result<Scenario, sqlx::Error> {
    let database = Database::new().await;
    let pool = database.pool(INSTANCES).await;
    connect(&pool).await?;
    example::set_up(&pool).await?;
    Ok(Scenario {
        title: "Five instances start the nightly report",
        description: &["The instances do not know about each other, and one report is enough."],
        runs: [without(&pool).await?, with(&pool).await?],
    })
}

async fn without(pool: &PgPool) -> Result<Run, sqlx::Error> {
    let instances = (0..INSTANCES as usize)
        .map(|n| instance(n, example::nightly_report_unlocked(pool, work(100))));
    let timelines = join_all(instances).await;
    let reports = example::reports(pool).await?;
    assert_eq!(reports, 5, "every instance writes one: {timelines:?}");
    Ok(Run {
        heading: "without a lock",
        timelines,
        conclusion: format!("{reports} reports."),
    })
}

async fn with(pool: &PgPool) -> Result<Run, sqlx::Error> {
    let before = example::reports(pool).await?;
    let skipped = Semaphore::new(0);
    let instances = (0..INSTANCES as usize).map(|n| {
        let until_others_are_skipped = async {
            drop(skipped.acquire_many(INSTANCES - 1).await);
            work(60).await;
        };
        let run = instance(n, example::nightly_report(pool, until_others_are_skipped));
        async {
            let timeline = run.await;
            skipped.add_permits(usize::from(timeline.is_skipped()));
            timeline
        }
    });
    let timelines = join_all(instances).await;
    let reports = example::reports(pool).await? - before;
    assert_eq!(reports, 1, "one instance writes it: {timelines:?}");
    Ok(Run {
        heading: "#[advisory(timeout = 0, side_effect = Skip, tx)]",
        timelines,
        conclusion: format!(
            "{reports} report: the first instance runs the job, and no instance waits."
        ),
    })
}

fn instance<'a>(
    number: usize,
    run: impl Future<Output = Result<Option<i64>, sqlx::Error>> + 'a,
) -> LocalBoxFuture<'a, Timeline> {
    let name = format!("instance {}", number + 1);
    Timeline::record(name, start_delay(number), run, |result| match result {
        Ok(Some(_)) => Ending::Done("report written".into()),
        Ok(None) => Ending::Skipped("skipped".into()),
        Err(error) => panic!("expected no error, found {error}"),
    })
}
