//! Each delivery is processed once.

use advisory_tests::scalar;
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::client::{self, Answer};
use crate::fleet::{Fleet, hold_delivery, rows};
use crate::instance::STATE_TIMEOUT;

const DELIVERIES: usize = 50;
const DUPLICATES: usize = 8;

/// Whether one request created the row and all others found it.
fn is_created_once(answers: &[Answer]) -> bool {
    let count = |status| {
        answers
            .iter()
            .filter(|answer| answer.status == status)
            .count()
    };
    (count(201), count(200)) == (1, answers.len() - 1)
}

#[tokio::test]
async fn each_of_many_deliveries_creates_one_row_despite_duplicates() {
    let fleet = Fleet::start(&[]).await;
    let addresses = [fleet.one.address, fleet.two.address];
    let deliveries = (0..DELIVERIES).map(async |delivery| {
        let id = format!("delivery-{delivery}");
        let duplicates = (0..DUPLICATES).map(|n| client::deliver(addresses[n % 2], &id));
        join_all(duplicates).await
    });
    for answers in join_all(deliveries).await {
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert!(is_created_once(&answers), "{answers:?}");
    }
    let count: i64 = scalar(&fleet.pool, "SELECT count(*) FROM delivery").await;
    assert_eq!(usize::try_from(count), Ok(DELIVERIES));

    let metrics = fleet.one.get("/metrics").await.body;
    let acquired = "advisory_acquire_total{scope=\"xact\",outcome=\"acquired\"} ";
    let acquired = metrics.lines().find_map(|line| line.strip_prefix(acquired));
    let acquired: usize = acquired.unwrap().parse().unwrap();
    // This instance's half of the requests, twice the creation of tables, and perhaps the report.
    assert!((202..=203).contains(&acquired), "{metrics}");
    fleet.shut_down().await;
}

#[tokio::test]
async fn duplicates_on_both_instances_wait_for_the_first() {
    let fleet = Fleet::start(&[]).await;
    let first = hold_delivery(&fleet.pool).await;
    let addresses = [fleet.one.address, fleet.two.address];
    let duplicates = (0..DUPLICATES).map(|n| client::deliver(addresses[n % 2], "7"));
    let (answers, ()) = tokio::join!(join_all(duplicates), async {
        // One of each instance; the others wait in memory.
        fleet.database.wait_until_waiting(2).await;
        first.commit().await.unwrap();
    });
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert!(is_created_once(&answers), "{answers:?}");
    assert_eq!(rows(&fleet.pool, "7").await, 1);
    fleet.shut_down().await;
}

#[tokio::test]
async fn a_delivery_that_does_not_get_the_lock_is_answered_with_retry_after() {
    let fleet = Fleet::start(&["--turn", "0.1"]).await;
    let first = hold_delivery(&fleet.pool).await;
    let answer = client::deliver(fleet.one.address, "7").await.unwrap();
    assert_eq!(
        (answer.status, answer.retry_after.as_deref()),
        (503, Some("1")),
        "{answer:?}"
    );
    assert!(
        !answer.body.contains("pid"),
        "the response does not name the holder: {answer:?}"
    );
    assert_eq!(rows(&fleet.pool, "7").await, 0);
    first.commit().await.unwrap();
    // Repeats the delivery until it is accepted, as a provider does.
    let accepted = async {
        let deliver = async || client::deliver(fleet.one.address, "7").await.unwrap();
        while deliver().await.status == 503 {}
    };
    timeout(STATE_TIMEOUT, accepted)
        .await
        .expect("the delivery is accepted");
    assert_eq!(rows(&fleet.pool, "7").await, 1);
    fleet.shut_down().await;
}

#[tokio::test]
async fn malformed_deliveries_are_refused() {
    let fleet = Fleet::start(&[]).await;
    let status = async |path, body| {
        client::post(fleet.one.address, path, body)
            .await
            .unwrap()
            .status
    };
    assert_eq!(status("/webhooks/unknown", "{}").await, 404);
    assert_eq!(
        status("/webhooks/github", "{}").await,
        400,
        "no delivery id"
    );
    assert_eq!(status("/webhooks/github", "{").await, 400, "no JSON");
    let long = client::deliver(fleet.one.address, &"7".repeat(4_000)).await;
    assert_eq!(long.unwrap().status, 400, "a long delivery id");

    // PostgreSQL cannot store a NUL character, and the items of the tenant stay.
    assert_eq!(status("/tenants/7/import", "[1]").await, 200);
    let nul = r#"[2, {"a\u0000": "\u0000"}]"#;
    assert_eq!(status("/tenants/7/import", nul).await, 400);
    let items = sqlx::query_scalar("SELECT string_agg(value::text, ',') FROM item");
    let items: String = items.fetch_one(&fleet.pool).await.unwrap();
    assert_eq!(items, "1");
    let deliver = client::deliver_event(fleet.one.address, "7", nul).await;
    assert_eq!(deliver.unwrap().status, 400);
    fleet.shut_down().await;
}
