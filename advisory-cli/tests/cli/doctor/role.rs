//! The privileges of the role.

use advisory_tests::{Database, Server};

use super::diagnosis::diagnose;

#[tokio::test]
async fn a_role_without_privileges_gets_the_grants_as_advice() {
    let server = Server::start().unwrap();
    let database = Database::on(&server).await;
    let role = database.role().await;
    let name = database.name();
    let diagnosis = diagnose(&role).await;
    assert_eq!(
        diagnosis.complaints(),
        ["pg_read_all_stats", "pg_signal_backend"]
    );
    assert_eq!(diagnosis.code, 0);
    for right in diagnosis.complaints() {
        let grant = format!("`GRANT {right} TO {name}`");
        diagnosis.assert_says(right, "warn", "its own sessions only", &grant);
    }
    // `pg_monitor` is a member of `pg_read_all_stats`.
    for sees in ["pg_read_all_stats", "pg_monitor"] {
        let rights = format!("{sees}, pg_signal_backend");
        database.execute(format!("GRANT {rights} TO {name}")).await;
        let diagnosis = diagnose(&role).await;
        assert_eq!(diagnosis.complaints(), Vec::<&str>::new(), "{sees}");
        database
            .execute(format!("REVOKE {rights} FROM {name}"))
            .await;
    }
}

#[tokio::test]
async fn a_role_with_one_connection_cannot_check_exclusion() {
    let server = Server::start().unwrap();
    let database = Database::on(&server).await;
    let role = database.role().await;
    let limit = format!("ALTER ROLE {} CONNECTION LIMIT 1", database.name());
    database.execute(limit).await;
    let diagnosis = diagnose(&role).await;
    let advice = "another connection";
    diagnosis.assert_says("transaction lock", "warn", "no second session", advice);
    diagnosis.assert_says("pooler", "warn", "too many connections", advice);
    assert_eq!(diagnosis.code, 0);
}
