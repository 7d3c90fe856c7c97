//! Who has led, and when, by the heartbeats.

use std::time::Duration;

use sqlx::{FromRow, PgPool};
use tokio::time::{Instant, sleep};

use crate::instance::PATIENCE;

// The microseconds of an epoch, which need no type of dates.
const TERMS: &str = "SELECT fence, string_agg(DISTINCT instance, ' and ') AS instance, count(*) AS beats, \
     (extract(epoch FROM min(at)) * 1000000)::bigint AS began, (extract(epoch FROM max(at)) * 1000000)::bigint AS ended \
     FROM heartbeat GROUP BY fence ORDER BY fence";

/// A term of office: the heartbeats with one fencing token.
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

/// Waits until the terms are as `is_reached` says.
pub(crate) async fn until(
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
            start.elapsed() < PATIENCE,
            "not reached in time: {what}\n{terms:#?}"
        );
        sleep(Duration::from_millis(10)).await;
    }
}

/// One leader at a time: each term has one instance, and is over when the next begins.
pub(crate) fn assert_one_at_a_time(terms: &[Term]) {
    for term in terms {
        assert!(matches!(&*term.instance, "one" | "two"), "{terms:#?}");
    }
    for pair in terms.windows(2) {
        assert!(pair[0].ended < pair[1].began, "{terms:#?}");
    }
}
