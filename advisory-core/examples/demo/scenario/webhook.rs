//! A webhook is delivered many times at once.

use advisory_tests::Database;
use futures_util::future::{LocalBoxFuture, join_all};
use sqlx::PgPool;
use tokio::sync::Barrier;

use super::{Run, Scenario, connect, start_delay, work};
use crate::timeline::{Ending, Timeline};

#[path = "../../webhook.rs"]
#[expect(dead_code, reason = "the example has its own `main`")]
mod example;

const DELIVERIES: u32 = 6;

pub(crate) async fn run() -> Result<Scenario, sqlx::Error> {
    let database = Database::new().await;
    let pool = database.pool(DELIVERIES).await;
    connect(&pool).await?;
    example::set_up(&pool).await?;
    Ok(Scenario {
        title: "A webhook arrives six times at once",
        description: &[
            "Each delivery checks whether the pull request is known, asks GitHub for its",
            "title, and inserts the row. There is no row yet that could be locked.",
        ],
        runs: [without(&pool).await, with(&database, &pool).await],
    })
}

async fn without(pool: &PgPool) -> Run {
    let all_checked = Barrier::new(DELIVERIES as usize);
    let title = || async {
        all_checked.wait().await;
        work(25).await;
        "Add a lock".to_owned()
    };
    let deliveries = (0..DELIVERIES as usize)
        .map(|n| delivery(n, example::on_opened_unlocked(pool, 1, title())));
    let timelines = join_all(deliveries).await;
    let failed = timelines
        .iter()
        .filter(|timeline| timeline.is_failed())
        .count();
    assert_eq!(failed, 5, "all but one insert a duplicate: {timelines:?}");
    Run {
        heading: "without a lock",
        timelines,
        conclusion: format!("All check before the first one inserts: {failed} unique violations."),
    }
}

async fn with(database: &Database, pool: &PgPool) -> Run {
    let title = || async {
        // The next one waits on the server, and the others in memory.
        database.wait_until_waiting(1).await;
        work(25).await;
        "Add a lock".to_owned()
    };
    let deliveries =
        (0..DELIVERIES as usize).map(|n| delivery(n, example::on_opened(pool, 2, title())));
    let timelines = join_all(deliveries).await;
    assert!(
        timelines.iter().all(Timeline::is_done),
        "no delivery fails: {timelines:?}"
    );
    Run {
        heading: r#"#[advisory(key = "github-pr:{id}", tx)]"#,
        timelines,
        conclusion: "The first one creates the row, the others find it: no error to discard."
            .into(),
    }
}

fn delivery<'a>(
    number: usize,
    handler: impl Future<Output = Result<bool, sqlx::Error>> + 'a,
) -> LocalBoxFuture<'a, Timeline> {
    let name = format!("delivery {}", number + 1);
    Timeline::record(name, start_delay(number), handler, |result| match result {
        Ok(true) => Ending::Done("created".into()),
        Ok(false) => Ending::Done("known".into()),
        result if example::is_unique_violation(&result) => Ending::Failed("duplicate key".into()),
        Err(error) => panic!("unexpected error: {error}"),
    })
}
