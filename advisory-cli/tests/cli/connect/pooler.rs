//! Through PgBouncer with settings that the command has to bear.

use advisory_tests::{Database, Pooler, Pooling};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use crate::command::advisory_as;

/// PgBouncer refuses a connection with a parameter that it neither knows nor is set to ignore, and
/// sqlx sends `extra_float_digits`.
#[tokio::test]
async fn every_command_connects_through_a_pooler_that_ignores_no_parameter() {
    let database = Database::new().await;
    let Some(pooler) = Pooler::try_start(&database, Pooling::Session, 5).await else {
        return;
    };
    pooler.configure("ignore_startup_parameters =");
    for arguments in [
        &["ls"][..],
        &["tree"],
        &["doctor"],
        &["bench", "--seconds", "1"],
        &["explain", "sync"],
        &["setup"],
        &["lead", "sync", "--", "true"],
        &["run", "sync", "--", "true"],
    ] {
        let outcome = advisory_as(&pooler.options(), arguments).await;
        assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:?}");
    }
    let refused = advisory_as(&pooler.options(), &["terminate", "1", "--yes"]).await;
    refused.assert_fails(1, &["pid 1 holds no advisory lock"]);
}

/// The only backend is taken by another client.
#[tokio::test]
async fn an_error_of_the_pooler_is_not_that_of_the_command() {
    let database = Database::new().await;
    let Some(pooler) = Pooler::try_start(&database, Pooling::Session, 1).await else {
        return;
    };
    pooler.configure("query_wait_timeout = 1");
    let mut other = PgConnection::connect_with(&pooler.options()).await.unwrap();
    other.ping().await.unwrap();
    let refused = advisory_as(&pooler.options(), &["run", "sync", "--", "true"]).await;
    refused.assert_fails(70, &["query_wait_timeout"]);
}
