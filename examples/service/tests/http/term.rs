//! The terms of the leaders, as recorded by the heartbeats.

use std::time::Duration;

use sqlx::{FromRow, PgPool};
use tokio::time::{Instant, sleep};

use crate::instance::STATE_TIMEOUT;

// Times are microseconds since the epoch, so that sqlx needs no feature for dates.
const TERMS: &str = "SELECT fence, string_agg(DISTINCT instance, ' and ') AS instance, count(*) AS beats, \
     (extract(epoch FROM min(at)) * 1000000)::bigint AS began, (extract(epoch FROM max(at)) * 1000000)::bigint AS ended \
     FROM heartbeat GROUP BY fence ORDER BY fence";

/// A leader's term: the heartbeats with one fencing token.
#[derive(Debug, FromRow)]
pub(crate) struct Term {
    pub(crate) fence: i64,
    pub(crate) instance: String,
    pub(crate) beats: i64,
    began: i64,
    ended: i64,
}

pub(crate) async fn terms(pool: &PgPool) -> Vec<Term> {
    sqlx::query_as(TERMS).fetch_all(pool).await.unwrap()
}

/// Waits until `is_reached` returns true for the terms.
pub(crate) async fn wait_until(
    pool: &PgPool,
    what: &str,
    is_reached: impl Fn(&[Term]) -> bool,
) -> Vec<Term> {
    let start = Instant::now();
    loop {
        let terms = terms(pool).await;
        if is_reached(&terms) {
            return terms;
        }
        assert!(
            start.elapsed() < STATE_TIMEOUT,
            "not reached in time: {what}\n{terms:#?}"
        );
        sleep(Duration::from_millis(10)).await;
    }
}

/// Asserts that there was one leader at a time: each term has one instance, and ends before the
/// next one begins.
pub(crate) fn assert_one_at_a_time(terms: &[Term]) {
    for term in terms {
        assert!(matches!(&*term.instance, "one" | "two"), "{terms:#?}");
    }
    for pair in terms.windows(2) {
        assert!(pair[0].ended < pair[1].began, "{terms:#?}");
    }
}
