//! The text and the JSON.

use advisory_tests::{Database, Server};
use serde_json::Value;

use crate::command::{advisory_command, command_with_url, output_of, printed, printed_json};
use crate::terminal::Terminal;

/// The checks in the order of the output.
const CHECKS: [&str; 19] = [
    "server version",
    "primary",
    "pooler",
    "transaction lock",
    "session lock",
    "client_connection_check_interval",
    "lock table",
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "transaction_timeout",
    "tcp_keepalives",
    "default_transaction_isolation",
    "track_activities",
    "deadlock_timeout",
    "log_lock_waits",
    "pg_read_all_stats",
    "pg_signal_backend",
];

#[tokio::test]
async fn json_output_has_a_fixed_schema() {
    let database = Database::new().await;
    let checks: Vec<Value> = printed_json(&database, &["doctor"]).await;
    for check in &checks {
        let mut keys: Vec<_> = check.as_object().unwrap().keys().collect();
        keys.sort_unstable();
        assert_eq!(keys, ["advice", "check", "found", "status"]);
        assert!(check["found"].is_string());
        let passes = check["status"] == "pass";
        assert!(passes || ["warn", "fail"].contains(&check["status"].as_str().unwrap()));
        assert_eq!(check["advice"].is_null(), passes, "{check}");
    }
    let names: Vec<_> = checks
        .iter()
        .map(|check| check["check"].as_str().unwrap())
        .collect();
    assert_eq!(names, CHECKS);
}

#[tokio::test]
async fn text_has_a_line_for_each_check_and_colours_only_on_a_terminal() {
    let server = Server::start().unwrap();
    let database = Database::on(&server).await;
    let plain = printed(&database, &["doctor"]).await;
    let lines: Vec<_> = plain.lines().collect();
    for (line, check) in lines.iter().zip(CHECKS) {
        assert!(line.contains("✓ pass") && line.contains(check), "{line}");
    }
    assert_eq!(lines.len(), CHECKS.len() + 2);
    assert_eq!(lines.last(), Some(&"fit for advisory locks"));
    assert!(!plain.contains('\x1b'), "{plain}");

    let on_terminal = || advisory_command(&database, &["doctor"]);
    let coloured = Terminal::new().show(on_terminal()).await;
    assert!(coloured.contains("\x1b["), "{coloured}");
    let mut uncoloured = on_terminal();
    uncoloured.env("NO_COLOR", "1");
    let uncoloured = Terminal::new().show(uncoloured).await;
    assert!(uncoloured.contains("✓ pass"), "{uncoloured}");
    assert!(!uncoloured.contains('\x1b'), "{uncoloured}");
    assert!(
        uncoloured.lines().all(|line| line.chars().count() <= 80),
        "{uncoloured}"
    );
}

#[tokio::test]
async fn an_unreachable_server_is_a_failure_without_checks() {
    let nowhere = output_of(command_with_url(
        "postgres://nobody@127.0.0.1:1/none",
        &["doctor"],
    ))
    .await;
    let reason = "cannot connect to 127.0.0.1, port 1, database `none`: ";
    nowhere.assert_fails(69, &[reason, "--database-url"]);
    assert_eq!(nowhere.text(), "");
    let nonsense = output_of(command_with_url("nonsense", &["doctor", "--json"])).await;
    nonsense.assert_fails(2, &["expected `postgres://user@host/database`"]);
}
