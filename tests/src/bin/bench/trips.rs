//! Round trips, counted by a proxy.

use std::time::Duration;

use advisory_tests::{Database, Proxy};
use tokio::time::sleep;

use crate::contest::Lane;
use crate::place::Place;

/// So often is each way counted.
const TIMES: u32 = 8;

/// What each lane costs in round trips, the pool's pings aside: the lanes are the same as those that are measured, by way of the
/// proxy. What happens in the background is counted, too.
pub(crate) async fn count(proxy: &Proxy, lanes: &mut [Lane]) -> Vec<Option<f64>> {
    let mut counted = Vec::new();
    for lane in lanes {
        lane.run(TIMES as usize).await;
        at_rest().await;
        proxy.reset();
        lane.run(TIMES as usize).await;
        at_rest().await;
        #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
        let spent = proxy.round_trips() as f64;
        counted.push(Some(spent / f64::from(TIMES)));
    }
    counted
}

/// What was handed back to a pool is there.
async fn at_rest() {
    sleep(Duration::from_millis(20)).await;
}

/// A proxy, and the place it leads to.
pub(crate) async fn counter(database: &Database) -> (Proxy, Place) {
    let proxy = Proxy::start(database).await;
    let place = Place(proxy.options());
    (proxy, place)
}
