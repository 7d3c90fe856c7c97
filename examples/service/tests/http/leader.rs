//! One leader at a time.

use advisory_tests::Database;
use nix::sys::signal::Signal;

use crate::fleet::{Fleet, Led, nothing_is_left};
use crate::instance::Instance;
use crate::term::{assert_one_at_a_time, terms, until};

#[tokio::test]
async fn leadership_goes_from_one_to_the_other_and_is_never_shared() {
    let fleet = Fleet::start(&["--term", "0.2"]).await;
    until(&fleet.pool, "six terms, of both", |terms| {
        let of = |name| terms.iter().any(|term| term.instance == name);
        terms.len() >= 6 && of("one") && of("two")
    })
    .await;
    let pool = fleet.pool.clone();
    fleet.end().await;
    assert_one_at_a_time(&terms(&pool).await);
}

#[tokio::test]
async fn a_leader_that_is_killed_is_followed_by_the_other() {
    let fleet = Led::start(&[]).await;
    fleet.leader.signal(Signal::SIGKILL);
    fleet.until_other_leads().await;
    assert_eq!(fleet.leader.ended().await, None);
    fleet.other.end().await;
    nothing_is_left(&fleet.database, &fleet.pool).await;
}

#[tokio::test]
async fn a_leader_whose_session_is_ended_stops_and_stands_again() {
    let database = Database::new().await;
    let one = Instance::start(&database, "one", &[]).await;
    let pool = database.pool(1).await;
    until(&pool, "a leader", |terms| !terms.is_empty()).await;
    let holder = database.advisory_locks().await;
    let terminate = sqlx::query("SELECT pg_terminate_backend($1)").bind(holder[0].pid);
    terminate.execute(&pool).await.unwrap();
    let terms = until(&pool, "a second term", |terms| {
        terms.len() == 2 && terms[1].beats > 5
    })
    .await;
    assert_one_at_a_time(&terms);
    one.end().await;
    nothing_is_left(&database, &pool).await;
}
