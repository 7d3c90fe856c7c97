//! Servers whose advisory locks do not work.

use advisory_tests::Database;

use super::diagnosis::diagnose;

/// Replaces the functions of this database that wait for a lock on a `bigint`.
async fn replace(database: &Database, body: impl Fn(&str) -> String) {
    for scope in ["", "_xact"] {
        let waits = format!("pg_advisory{scope}_lock");
        let body = body(scope);
        let replace = format!(
            "ALTER FUNCTION pg_catalog.{waits}(bigint) RENAME TO own_{waits}; \
             CREATE FUNCTION pg_catalog.{waits}(bigint) RETURNS void LANGUAGE sql AS '{body}'"
        );
        database.execute(replace).await;
    }
}

#[tokio::test]
async fn a_server_whose_functions_lock_nothing_is_not_fit() {
    let database = Database::new().await;
    replace(&database, |_| "SELECT".to_owned()).await;
    let diagnosis = diagnose(&database.options()).await;
    assert_eq!(diagnosis.code, 1);
    for check in ["transaction lock", "session lock"] {
        diagnosis.assert_says(check, "fail", "does not hold", "PostgreSQL itself");
    }
    diagnosis.assert_says("pooler", "pass", "none", "");
}

#[tokio::test]
async fn a_server_that_grants_a_lock_to_two_sessions_is_not_fit() {
    let shared = Database::new().await;
    let share = |scope: &str| format!("SELECT pg_catalog.pg_advisory{scope}_lock_shared($1)");
    replace(&shared, share).await;
    let twice = Database::new().await;
    let always = "ALTER FUNCTION pg_catalog.pg_try_advisory_xact_lock(bigint) RENAME TO own_try; \
        CREATE FUNCTION pg_catalog.pg_try_advisory_xact_lock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true'";
    twice.execute(always).await;
    for (database, found) in [
        (shared, "not held exclusively"),
        (twice, "two sessions got it"),
    ] {
        let diagnosis = diagnose(&database.options()).await;
        diagnosis.assert_says("transaction lock", "fail", found, "PostgreSQL itself");
        assert_eq!(diagnosis.code, 1);
    }
}

#[tokio::test]
async fn a_server_that_lacks_functions_is_not_fit() {
    let database = Database::new().await;
    for missing in ["pg_is_in_recovery()", "pg_advisory_xact_lock(bigint)"] {
        let rename = format!("ALTER FUNCTION pg_catalog.{missing} RENAME TO not_here");
        database.execute(rename).await;
    }
    let diagnosis = diagnose(&database.options()).await;
    assert_eq!(diagnosis.code, 1);
    diagnosis.assert_says("server version", "warn", "cannot tell", "PostgreSQL");
    diagnosis.assert_says("transaction lock", "fail", "does not know", "");
    diagnosis.assert_says("settings", "warn", "cannot tell", "PostgreSQL");
}

#[tokio::test]
async fn a_platform_without_connection_checks_is_a_warning() {
    let database = Database::new().await;
    let elsewhere = "ALTER FUNCTION pg_catalog.version() RENAME TO own_version; CREATE FUNCTION pg_catalog.version() \
        RETURNS text LANGUAGE sql AS $$SELECT 'PostgreSQL 14.0 on aarch64-apple-darwin'$$";
    database.execute(elsewhere).await;
    let diagnosis = diagnose(&database.options()).await;
    let interval = "client_connection_check_interval";
    let advice = "give every wait a timeout";
    diagnosis.assert_says(interval, "warn", "not supported", advice);
    assert_eq!(diagnosis.code, 0);
}
