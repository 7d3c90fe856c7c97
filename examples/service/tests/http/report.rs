//! A job that runs once per period of the server's clock.

use advisory_tests::scalar;
use nix::sys::signal::Signal;

use crate::fleet::{Fleet, assert_nothing_is_left};
use crate::term::wait_until;

#[tokio::test]
async fn each_period_has_one_report_of_the_whole_fleet() {
    let fleet = Fleet::start(&["--report-every", "1"]).await;
    // Both instances try several times in each period.
    wait_until(&fleet.pool, "some sweeps", |terms| {
        terms.iter().map(|term| term.beats).sum::<i64>() > 80
    })
    .await;
    let (kept, killed) = (fleet.one, fleet.two);
    killed.signal(Signal::SIGKILL);
    let reports = "SELECT count(*) FROM report";
    let before: i64 = scalar(&fleet.pool, reports).await;
    let start = std::time::Instant::now();
    while scalar::<i64>(&fleet.pool, reports).await < before + 2 {
        assert!(
            start.elapsed() < crate::instance::STATE_TIMEOUT,
            "no report"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    kept.shut_down().await;
    let once = "SELECT count(*) <= extract(epoch FROM max(at) - min(at)) + 2 FROM report";
    assert!(scalar::<bool>(&fleet.pool, once).await);
    assert_nothing_is_left(&fleet.database, &fleet.pool).await;
}
