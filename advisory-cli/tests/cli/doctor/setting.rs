//! Settings, of every source.

use advisory_tests::{Database, Server};

use super::diagnosis::{diagnose, set};
use crate::command::{assert_contains, command_with_url, output_of};

#[tokio::test]
async fn timeouts_of_the_role_are_warnings_with_a_reset() {
    let database = Database::new().await;
    let role = database.role().await;
    let mut timeouts = vec![
        ("statement_timeout", "ends a wait with an error"),
        ("lock_timeout", "ends every wait"),
        (
            "idle_in_transaction_session_timeout",
            "takes a transaction lock away",
        ),
        ("idle_session_timeout", "takes a session lock away"),
    ];
    if Server::shared().version().major >= 17 {
        timeouts.push(("transaction_timeout", "takes a transaction lock away"));
    }
    for (name, _) in &timeouts {
        set(&database, &format!("{name} = '70s'")).await;
    }
    let diagnosis = diagnose(&role).await;
    assert_eq!(diagnosis.code, 0);
    for (name, effect) in timeouts {
        let reset = format!("`ALTER ROLE {} RESET {name}`", database.name());
        let found = format!("70s: {effect}");
        diagnosis.assert_says(name, "warn", &found, &reset);
    }
}

#[tokio::test]
async fn settings_of_every_source_are_checked() {
    let database = Database::new().await;
    let of_database = format!("ALTER DATABASE {} SET lock_timeout = '3s'", database.name());
    database.execute(of_database).await;
    let options = database.options();
    let diagnosis = diagnose(&options).await;
    let reset = format!("`ALTER DATABASE {} RESET lock_timeout`", database.name());
    diagnosis.assert_says("lock_timeout", "warn", "3s: ", &reset);

    let url = format!("{}&options=-c%20statement_timeout=4s", database.url());
    let outcome = output_of(command_with_url(&url, &["doctor"])).await;
    let line = outcome
        .text()
        .lines()
        .skip_while(|line| !line.contains("4s: ends a wait"))
        .nth(1);
    assert_contains(line.unwrap(), &["the connection's own options"]);
    assert_eq!(outcome.code, 0);
    assert_contains(outcome.text(), &["fit for advisory locks, with 2 warnings"]);
}

#[tokio::test]
async fn hidden_activity_and_old_snapshots_are_warnings() {
    let database = Database::new().await;
    let role = database.role().await;
    set(&database, "track_activities = off").await;
    let isolation = "default_transaction_isolation";
    set(&database, &format!("{isolation} = 'repeatable read'")).await;
    let diagnosis = diagnose(&role).await;
    diagnosis.assert_says("track_activities", "warn", "cancel_via", "switch it on");
    diagnosis.assert_says(isolation, "warn", "snapshot", "`AdvisoryLock::isolation`");
    assert_eq!(diagnosis.code, 0);

    set(&database, "log_lock_waits = on").await;
    set(&database, "deadlock_timeout = '7s'").await;
    let diagnosis = diagnose(&role).await;
    diagnosis.assert_says("log_lock_waits", "pass", "on: ", "");
    diagnosis.assert_says("deadlock_timeout", "pass", "7s: ", "");
}
