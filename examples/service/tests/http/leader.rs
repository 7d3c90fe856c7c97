//! Leader election.

use advisory_tests::{Database, scalar};
use nix::sys::signal::Signal;

use crate::fleet::{Fleet, Led, assert_nothing_is_left};
use crate::instance::Instance;
use crate::term::{assert_one_at_a_time, terms, wait_until};

#[tokio::test]
async fn leadership_passes_between_instances_and_is_never_shared() {
    let fleet = Fleet::start(&["--term", "0.2"]).await;
    wait_until(&fleet.pool, "six terms, some of each instance", |terms| {
        let has_led = |name| terms.iter().any(|term| term.instance == name);
        terms.len() >= 6 && has_led("one") && has_led("two")
    })
    .await;
    let pool = fleet.pool.clone();
    fleet.shut_down().await;
    assert_one_at_a_time(&terms(&pool).await);
}

#[tokio::test]
async fn the_other_instance_leads_after_the_leader_is_killed() {
    let fleet = Led::start(&[]).await;
    fleet.leader.signal(Signal::SIGKILL);
    fleet.wait_until_other_leads().await;
    assert_eq!(fleet.leader.exit_code().await, None);
    fleet.other.shut_down().await;
    assert_nothing_is_left(&fleet.database, &fleet.pool).await;
}

#[tokio::test]
async fn a_stopped_leader_that_continues_does_not_lead_beside_the_other_one() {
    let fleet = Led::start(&[]).await;
    fleet.leader.signal(Signal::SIGSTOP);
    fleet.database.terminate_lockers().await;
    fleet.wait_until_other_leads().await;
    let sweeping = terms(&fleet.pool).await.pop().unwrap();
    fleet.leader.signal(Signal::SIGCONT);
    // The other one sweeps on, and the first one is refused or stands again.
    wait_until(&fleet.pool, "more sweeps of the other", |terms| {
        let mut of_other = terms.iter().filter(|term| term.fence == sweeping.fence);
        of_other.any(|term| term.beats > sweeping.beats + 5)
    })
    .await;
    let fence: i64 = scalar(&fleet.pool, "SELECT fence FROM leadership").await;
    assert_eq!(
        fence, sweeping.fence,
        "the newest term is the one that sweeps"
    );
    tokio::join!(fleet.leader.shut_down(), fleet.other.shut_down());
    assert_nothing_is_left(&fleet.database, &fleet.pool).await;
}

#[tokio::test]
async fn a_leader_whose_session_is_terminated_stops_and_leads_again() {
    let database = Database::new().await;
    let one = Instance::start(&database, "one", &[]).await;
    let pool = database.pool(1).await;
    wait_until(&pool, "a leader", |terms| !terms.is_empty()).await;
    database.terminate_lockers().await;
    let terms = wait_until(&pool, "a second term", |terms| {
        terms.len() == 2 && terms[1].beats > 5
    })
    .await;
    assert_one_at_a_time(&terms);
    one.shut_down().await;
    assert_nothing_is_left(&database, &pool).await;
}
