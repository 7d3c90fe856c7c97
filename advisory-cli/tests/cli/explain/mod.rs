//! `advisory explain`.

use advisory_core::lock;
use advisory_tests::{Database, Pooler, Pooling, Server};
use serde_json::Value;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::command::{advisory_as, assert_contains, printed, printed_json};
use crate::export::Crowd;
use crate::session::{connected, holder, pid, wait};

async fn explain(database: &Database, arguments: &[&str]) -> String {
    printed(database, &[&["explain"], arguments].concat()).await
}

async fn explain_json(database: &Database, arguments: &[&str]) -> Value {
    printed_json(database, &[&["explain"], arguments].concat()).await
}

#[tokio::test]
async fn a_free_lock_is_explained_with_what_may_have_been_meant() {
    let database = Database::new().await;
    let text = explain(&database, &["nightly"]).await;
    assert_contains(&text, &["`nightly`", database.name(), "nobody holds it"]);
    let hint = "`42` is a name here; `--key` makes it the key 42";
    assert_contains(&explain(&database, &["42"]).await, &[hint]);
    assert!(!explain(&database, &["--key", "42"]).await.contains("--key"));

    let server = Server::start().unwrap();
    let (here, shop) = (Database::on(&server).await, Database::on(&server).await);
    let mut other = shop.connection().await;
    lock(&mut other, "nightly").await.unwrap();
    let elsewhere = format!("holds the lock of this key in database `{}`", shop.name());
    let text = explain(&here, &["nightly"]).await;
    assert_contains(&text, &["nobody holds it", &elsewhere, "`--database-url`"]);
}

#[tokio::test]
async fn a_forgotten_transaction_is_the_cause() {
    let database = Database::new().await;
    let mut holder = holder(&database, "billing", 42).await;
    let holder_pid = pid(&mut holder).await;
    holder.execute("SELECT 'the last statement'").await.unwrap();
    let mut web = connected(&database, "web").await;
    let web_pid = pid(&mut web).await;
    let waits = wait(&database, web, 42, 1).await;
    let text = explain(&database, &["--key", "42"]).await;
    assert_contains(
        &text,
        &[
            "key 42",
            &format!("held by pid {holder_pid}, for at most "),
            "billing, role ",
            "idle in transaction",
            "SELECT 'the last statement'",
            "has forgotten the transaction",
            &format!("`advisory terminate {holder_pid}` ends the session"),
            &format!("pid {web_pid}, "),
            &format!("behind pid {holder_pid}: web"),
            &format!("`advisory cancel {web_pid}`"),
        ],
    );
    assert!(text.lines().count() < 24, "more than a screen:\n{text}");
    let json = explain_json(&database, &["--key", "42"]).await;
    assert_eq!(json["key"], "42");
    assert_eq!(json["holders"][0]["cause"], "idle_in_transaction");
    assert_eq!(json["holders"][0]["session"]["pid"], holder_pid);
    assert_eq!(json["waiters"][0]["pid"], web_pid);
    assert_eq!(json["waiters"][0]["blocked_by"][0], holder_pid);
    holder.close().await.unwrap();
    waits.await.unwrap();

    // A session lock outlives the failure of a transaction.
    let mut holder = database.connection().await;
    lock(&mut holder, 43).await.unwrap();
    holder.execute("BEGIN").await.unwrap();
    holder.execute("SELECT 1/0").await.unwrap_err();
    let text = explain(&database, &["--key", "43"]).await;
    assert_contains(&text, &["in its transaction, which has failed"]);
}

#[tokio::test]
async fn an_idle_session_is_told_from_one_that_works() {
    let database = Database::new().await;
    let mut holder = connected(&database, "worker").await;
    lock(&mut holder, "nightly").await.unwrap();
    let text = explain(&database, &["nightly"]).await;
    assert_contains(
        &text,
        &["is in no transaction", "worker", "nobody waits for it"],
    );
    assert!(!text.contains("query "), "it has run nothing: {text}");
    let busy = tokio::spawn(async move { holder.execute("SELECT pg_sleep(60)").await.map(drop) });
    database.wait_until_asleep().await;
    let text = explain(&database, &["nightly"]).await;
    assert_contains(
        &text,
        &["has run a statement for", "pg_sleep", "`advisory cancel "],
    );
    busy.abort();
}

#[tokio::test]
async fn a_chain_of_waits_is_followed_to_its_end() {
    let database = Database::new().await;
    let mut root = connected(&database, "root").await;
    let root_pid = pid(&mut root).await;
    lock(&mut root, 100).await.unwrap();
    let mut first = connected(&database, "a").await;
    let mut second = connected(&database, "b").await;
    let first_pid = pid(&mut first).await;
    lock(&mut first, 200).await.unwrap();
    lock(&mut second, 300).await.unwrap();
    let _first = wait(&database, first, 100, 1).await;
    let _second = wait(&database, second, 200, 2).await;
    let text = explain(&database, &["--key", "300"]).await;
    assert_contains(
        &text,
        &[
            &format!("waits itself for advisory lock 200, behind pid {first_pid}"),
            &format!("at the end of this chain is pid {root_pid}"),
            "`advisory explain --key '200'`",
        ],
    );
    let json = explain_json(&database, &["--key", "200"]).await;
    assert_eq!(json["holders"][0]["cause"], "waits_for_advisory_lock");
}

#[tokio::test]
async fn a_holder_that_waits_for_a_row_names_who_has_written_it() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE t(id int); INSERT INTO t VALUES (1)")
        .await;
    let mut writer = connected(&database, "writer").await;
    let writer_pid = pid(&mut writer).await;
    writer.execute("BEGIN; UPDATE t SET id = 2").await.unwrap();
    let mut holder = connected(&database, "holder").await;
    lock(&mut holder, 42).await.unwrap();
    let waits = tokio::spawn(async move { holder.execute("UPDATE t SET id = 3").await.map(drop) });
    let waits_for_row = |backends: &[advisory_tests::BackendRow]| {
        let mut backends = backends.iter();
        backends.any(|backend| backend.wait_event.as_deref() == Some("transactionid"))
    };
    database
        .wait_until_backends("one that waits for a row", waits_for_row)
        .await;
    let text = explain(&database, &["--key", "42"]).await;
    assert_contains(
        &text,
        &[
            "a row that another transaction has written",
            &format!("pid {writer_pid} (writer, idle in transaction)"),
            &format!("`SELECT pg_terminate_backend({writer_pid})`"),
        ],
    );
    writer.close().await.unwrap();
    waits.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_prepared_transaction_is_explained_with_its_end() {
    let server = Server::start_with(&[("max_prepared_transactions", "2")]).unwrap();
    let database = Database::on(&server).await;
    let mut conn = database.connection().await;
    let prepare = "BEGIN; SELECT pg_advisory_xact_lock(42); PREPARE TRANSACTION 'it''s'";
    conn.execute(sqlx::raw_sql(prepare)).await.unwrap();
    let text = explain(&database, &["--key", "42"]).await;
    assert_contains(
        &text,
        &[
            "held by a prepared transaction",
            "`ROLLBACK PREPARED 'it''s'`",
        ],
    );
}

#[tokio::test]
async fn the_backend_of_a_pooler_is_recognized() {
    let database = Database::new().await;
    let mut holder = connected(&database, "pgbouncer 7").await;
    lock(&mut holder, 41).await.unwrap();
    let text = explain(&database, &["--key", "41"]).await;
    let parts = ["probably the backend of a pooler", "`advisory doctor`"];
    assert_contains(&text, &parts);
    let Some(pooler) = Pooler::try_start(&database, Pooling::Transaction, 3).await else {
        return;
    };
    // The client is gone, and its session lock stays in the pooler's backend.
    let mut client = PgConnection::connect_with(&pooler.options()).await.unwrap();
    client.execute("SELECT pg_advisory_lock(42)").await.unwrap();
    client.close().await.unwrap();
    let explained = advisory_as(&pooler.options(), &["explain", "--key", "42"]).await;
    explained.assert_silent(0);
    let parts = ["has lent it to this very command", "`advisory terminate "];
    assert_contains(explained.text(), &parts);
}

#[tokio::test]
async fn a_session_whose_state_is_not_known_is_not_said_to_do_anything() {
    let database = Database::new().await;
    let options = database.options().options([("track_activities", "off")]);
    let mut holder = PgConnection::connect_with(&options).await.unwrap();
    lock(&mut holder, 42).await.unwrap();
    let text = explain(&database, &["--key", "42"]).await;
    assert_contains(
        &text,
        &["`track_activities` is off", "`advisory terminate "],
    );
    assert!(!text.contains("query "), "it is not known: {text}");
    let json = explain_json(&database, &["--key", "42"]).await;
    assert_eq!(json["holders"][0]["cause"], "untracked");
    let role = database.role().await;
    let outcome = advisory_as(&role, &["explain", "--key", "42"]).await;
    outcome.assert_silent(0);
    assert_contains(
        outcome.text(),
        &["hidden from this role", "`pg_read_all_stats`"],
    );
}

#[tokio::test]
async fn many_holders_and_names_with_control_characters_stay_on_a_screen() {
    let database = Database::new().await;
    let mut holders = Vec::new();
    for _ in 0..8 {
        let mut holder = database.connection().await;
        advisory_core::lock_shared(&mut holder, "a\u{1b}[2J\nb")
            .await
            .unwrap();
        holders.push(holder);
    }
    let text = explain(&database, &["a\u{1b}[2J\nb"]).await;
    assert_contains(&text, &["and 3 more holders", ", shared"]);
    assert!(!text.contains('\u{1b}'), "{text}");
    // A program sees them all, and which were not examined.
    let json = explain_json(&database, &["a\u{1b}[2J\nb"]).await;
    let listed = json["holders"].as_array().unwrap().iter();
    let mut pids: Vec<_> = listed
        .clone()
        .map(|h| h["session"]["pid"].as_i64())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 8, "{json}");
    let examined = listed.filter(|holder| {
        let fields = ["cause", "why", "to_end"].map(|field| holder[field].is_string());
        assert_eq!(fields, [fields[0]; 3], "{holder}");
        fields[0]
    });
    assert_eq!(examined.count(), 5, "{json}");
}

#[tokio::test]
async fn the_holders_of_all_permits_are_named_and_the_queue_for_one() {
    let database = Database::new().await;
    let crowd = Crowd::gather(&database).await;
    let text = explain(&database, &["export"]).await;
    let says = [
        "`export`",
        "slot 1 held by pid",
        "slot 2 held by pid",
        "waited for by 2",
        "the first in the queue",
        ", behind pid",
    ];
    assert_contains(&text, &says);
    let json = explain_json(&database, &["export"]).await;
    let slots = |list: &str, pointer: &str| {
        let list = json[list].as_array().unwrap().iter();
        let mut slots: Vec<_> = list
            .map(|entry| entry.pointer(pointer).unwrap().as_u64().unwrap())
            .collect();
        slots.sort_unstable();
        slots
    };
    assert_eq!(slots("holders", "/session/slot"), [1, 2]);
    assert_eq!(slots("waiters", "/slot"), [0, 0]);
    crowd.end().await;
}
