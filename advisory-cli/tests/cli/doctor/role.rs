//! The privileges of the role.

use advisory_tests::{Database, Server};

use super::diagnosis::{Role, diagnose, execute};

#[tokio::test]
async fn a_role_without_privileges_gets_the_grants_as_advice() {
    let server = Server::start().unwrap();
    let database = Database::on(&server).await;
    let role = Role::new(&database).await;
    let diagnosis = diagnose(&role.options()).await;
    assert_eq!(
        diagnosis.complaints(),
        ["pg_read_all_stats", "pg_signal_backend"]
    );
    assert_eq!(diagnosis.code, 0);
    for right in diagnosis.complaints() {
        let grant = format!("`GRANT {right} TO {}`", role.name);
        diagnosis.assert_says(right, "warn", "its own sessions only", &grant);
    }
    // `pg_monitor` is a member of `pg_read_all_stats`.
    for sees in ["pg_read_all_stats", "pg_monitor"] {
        let rights = format!("{sees}, pg_signal_backend");
        execute(&database, &format!("GRANT {rights} TO {}", role.name)).await;
        let diagnosis = diagnose(&role.options()).await;
        assert_eq!(diagnosis.complaints(), Vec::<&str>::new(), "{sees}");
        execute(&database, &format!("REVOKE {rights} FROM {}", role.name)).await;
    }
}

#[tokio::test]
async fn a_role_with_one_connection_cannot_check_exclusion() {
    let server = Server::start().unwrap();
    let database = Database::on(&server).await;
    let role = Role::new(&database).await;
    execute(
        &database,
        &format!("ALTER ROLE {} CONNECTION LIMIT 1", role.name),
    )
    .await;
    let diagnosis = diagnose(&role.options()).await;
    diagnosis.assert_says(
        "transaction lock",
        "warn",
        "no second session",
        "another connection",
    );
    diagnosis.assert_says(
        "pooler",
        "warn",
        "too many connections",
        "another connection",
    );
    assert_eq!(diagnosis.code, 0);
}
