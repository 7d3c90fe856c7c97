//! `advisory bench`.

use advisory_tests::{Database, Pooler, Pooling, Server};
use serde_json::Value;

use crate::command::{
    advisory, advisory_as, advisory_command, assert_contains, printed, printed_json,
};
use crate::terminal::Terminal;

const LATENCIES: [&str; 6] = [
    "round trip",
    "transaction lock: begin and lock",
    "transaction lock: commit",
    "try a lock that is taken",
    "session lock: acquire",
    "session lock: release",
];
const THROUGHPUTS: [&str; 2] = [
    "each on a key of its own",
    "all on one key, from hand to hand",
];

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(|key| &**key)
        .collect()
}

fn works(list: &Value) -> Vec<&str> {
    let items = list.as_array().unwrap().iter();
    items.map(|item| item["work"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn json_output_has_a_fixed_schema() {
    let database = Database::new().await;
    let arguments = ["bench", "--seconds", "1", "--connections", "3"];
    let figures: Value = printed_json(&database, &arguments).await;
    let mut schema = keys(&figures);
    schema.sort_unstable();
    assert_eq!(
        schema,
        ["connections", "latency", "seconds", "server", "throughput"]
    );
    assert_eq!(
        (&figures["seconds"], &figures["connections"]),
        (&1.into(), &3.into())
    );
    assert!(
        figures["server"]
            .as_str()
            .unwrap()
            .starts_with(char::is_numeric)
    );
    assert_eq!(works(&figures["latency"]), LATENCIES);
    assert_eq!(works(&figures["throughput"]), THROUGHPUTS);
    for latency in figures["latency"].as_array().unwrap() {
        let mut schema = keys(latency);
        schema.sort_unstable();
        assert_eq!(schema, ["count", "median_us", "p99_us", "refused", "work"]);
        let number = |key: &str| latency[key].as_f64().unwrap();
        assert!(number("count") >= 1.0 && latency["refused"].is_null());
        assert!(0.0 < number("median_us") && number("median_us") <= number("p99_us"));
    }
    for throughput in figures["throughput"].as_array().unwrap() {
        let mut schema = keys(throughput);
        schema.sort_unstable();
        assert_eq!(schema, ["connections", "locks_per_second", "work"]);
        assert!(throughput["locks_per_second"].as_f64().unwrap() > 0.0);
        assert_eq!(throughput["connections"], 3);
    }
    database
        .wait_until_backends("the bench has gone", <[_]>::is_empty)
        .await;
}

#[tokio::test]
async fn output_fits_on_one_screen() {
    let database = Database::new().await;
    let terminal = Terminal::new();
    let arguments = ["bench", "--seconds", "1"];
    let shown = terminal.show(advisory_command(&database, &arguments)).await;
    assert!(shown.lines().count() < 24, "{shown}");
    assert!(
        shown.lines().all(|line| line.chars().count() <= 80),
        "{shown}"
    );
    assert_contains(&shown, &LATENCIES);
    assert_contains(&shown, &THROUGHPUTS);
}

#[tokio::test]
async fn progress_is_hidden_without_a_terminal() {
    let database = Database::new().await;
    let bench = printed(&database, &["bench", "--seconds", "1"]).await;
    assert!(!bench.contains('\x1b'));
    assert!(bench.contains("µs"));
}

#[tokio::test]
async fn one_connection_is_enough() {
    let database = Database::new().await;
    let arguments = ["bench", "--seconds", "1", "--connections", "1"];
    let figures: Value = printed_json(&database, &arguments).await;
    let connections = |n: usize| figures["throughput"][n]["connections"].clone();
    assert_eq!((connections(0), connections(1)), (1.into(), 2.into()));
}

#[tokio::test]
async fn behind_a_pooler_in_transaction_mode_every_lock_is_measured() {
    let server = Server::start().unwrap();
    let database = Database::on(&server).await;
    let Some(pooler) = Pooler::try_start(&database, Pooling::Transaction, 5).await else {
        return;
    };
    let arguments = ["bench", "--seconds", "1", "--json"];
    let outcome = advisory_as(&pooler.options(), &arguments).await;
    outcome.assert_silent(0);
    let figures: Value = serde_json::from_str(outcome.text()).unwrap();
    assert_eq!(works(&figures["latency"]), LATENCIES);
    for latency in figures["latency"].as_array().unwrap() {
        assert!(latency["refused"].is_null(), "{latency}");
        assert!(latency["median_us"].as_f64().unwrap() > 0.0, "{latency}");
    }
}

#[tokio::test]
async fn locks_that_are_refused_are_reported() {
    let database = Database::new().await;
    // A session lock is taken over by a function that a transaction lock does not need.
    database
        .execute("ALTER FUNCTION pg_catalog.pg_advisory_lock(bigint) RENAME TO own_lock")
        .await;
    let figures: Value = printed_json(&database, &["bench", "--seconds", "1"]).await;
    let latency = figures["latency"].as_array().unwrap();
    let (transaction, session) = latency.split_at(4);
    assert!(transaction.iter().all(|of| of["refused"].is_null()));
    for refused in session {
        assert_contains(refused["refused"].as_str().unwrap(), &["pg_advisory_lock"]);
        assert!(refused["median_us"].is_null() && refused["p99_us"].is_null());
    }
    let text = printed(&database, &["bench", "--seconds", "1"]).await;
    assert_contains(&text, &["session lock: acquire"]);
}

#[tokio::test]
async fn a_standby_is_refused() {
    let primary = Server::start().unwrap();
    let database = Database::on(&primary).await;
    let standby = primary.standby().unwrap();
    let database = Database::at(&standby, &database);
    let refused = advisory(&database, &["bench", "--seconds", "1"]).await;
    refused.assert_fails(1, &["standby", "primary"]);
}
