//! A webhook that is delivered many times at once.

use advisory_tests::Database;
use futures_util::future::{LocalBoxFuture, join_all};
use sqlx::PgPool;
use tokio::sync::Barrier;

use super::{Act, Scene, arrival, connect, work};
use crate::lane::{Ending, Lane};

#[path = "../../webhook.rs"]
#[expect(dead_code, reason = "it has a `main` of its own")]
mod example;

const DELIVERIES: u32 = 6;

pub(crate) async fn play() -> Result<Scene, sqlx::Error> {
    let database = Database::new().await;
    let pool = database.pool(DELIVERIES).await;
    connect(&pool).await?;
    example::set_up(&pool).await?;
    Ok(Scene {
        title: "A webhook arrives six times at once",
        story: &[
            "Each delivery looks whether the pull request is known, asks GitHub for its",
            "title, and creates the row. There is no row yet that could be locked.",
        ],
        acts: [without(&pool).await, with(&database, &pool).await],
    })
}

async fn without(pool: &PgPool) -> Act {
    let all_looked = Barrier::new(DELIVERIES as usize);
    let title = || async {
        all_looked.wait().await;
        work(25).await;
        "Add a lock".to_owned()
    };
    let deliveries = (0..DELIVERIES as usize)
        .map(|n| delivery(n, example::on_opened_unlocked(pool, 1, title())));
    let lanes = join_all(deliveries).await;
    let failed = lanes.iter().filter(|lane| lane.is_failed()).count();
    assert_eq!(failed, 5, "all but one find out too late: {lanes:?}");
    Act {
        heading: "without a lock",
        lanes,
        moral: format!("All look before the first one creates: {failed} unique violations."),
    }
}

async fn with(database: &Database, pool: &PgPool) -> Act {
    let title = || async {
        database.wait_until_waiting(DELIVERIES as usize - 1).await;
        work(25).await;
        "Add a lock".to_owned()
    };
    let deliveries =
        (0..DELIVERIES as usize).map(|n| delivery(n, example::on_opened(pool, 2, title())));
    let lanes = join_all(deliveries).await;
    assert!(lanes.iter().all(Lane::is_done), "nobody fails: {lanes:?}");
    Act {
        heading: r#"#[advisory(key = "github-pr:{id}", tx)]"#,
        lanes,
        moral: "The first one creates, the others find it there: no error to throw away.".into(),
    }
}

fn delivery<'a>(
    number: usize,
    handler: impl Future<Output = Result<bool, sqlx::Error>> + 'a,
) -> LocalBoxFuture<'a, Lane> {
    let name = format!("delivery {}", number + 1);
    Lane::record(name, arrival(number), handler, |result| match result {
        Ok(true) => Ending::Done("created".into()),
        Ok(false) => Ending::Done("known".into()),
        result if example::is_unique_violation(&result) => Ending::Failed("duplicate key".into()),
        Err(error) => panic!("no other error is to be expected: {error}"),
    })
}
