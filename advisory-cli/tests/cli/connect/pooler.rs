//! Through PgBouncer with its default settings.

use advisory_tests::{Database, Pooler, Pooling};

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
        &["run", "sync", "--", "true"],
    ] {
        let outcome = advisory_as(&pooler.options(), arguments).await;
        assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:?}");
    }
    let refused = advisory_as(&pooler.options(), &["terminate", "1", "--yes"]).await;
    refused.assert_fails(1, &["pid 1 holds no advisory lock"]);
}
