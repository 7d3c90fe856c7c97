//! Whatever `ls` shows as a name is a name here.

use advisory_core::{AdvisoryLock, Key, known, lock};
use advisory_tests::{Database, scalar};
use serde_json::Value;
use sqlx::Executor as _;

use super::session::{assert_done, holder};
use crate::command::{DATABASE_OID, advisory, names_file, printed_json};

/// The name that `ls` shows for the one lock of the database.
async fn shown(database: &Database, names: &str) -> String {
    let rows: Vec<Value> = printed_json(database, &["ls", "--names", names]).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0]["name"].as_str().expect("it has a name").to_owned()
}

#[tokio::test]
async fn every_name_that_ls_shows_is_accepted() {
    let database = Database::new().await;
    let names = names_file("nightly\n42 = the answer\n");
    let names = names.to_str().unwrap();
    let of_database = known::all().iter().find(|tool| tool.needs_database());
    let of_database = of_database.unwrap().key(Some(database.name())).unwrap();
    // `nightly` as django-pglock hashes it.
    let nightly = advisory_core::KeyScheme::key(&advisory_core::scheme::Sha256, "nightly");
    for key in [
        Key::BigInt(72_707_369),
        of_database,
        Key::BigInt(42),
        nightly,
    ] {
        let mut conn = database.connection().await;
        lock(&mut conn, key).await.unwrap();
        let name = shown(&database, names).await;
        let arguments = ["terminate", "--yes", "--names", names, "--name", &name];
        let outcome = advisory(&database, &arguments).await;
        assert_done(&outcome, &["terminated", "is free"]);
    }
    let pool = database.pool(1).await;
    let of_our_own = AdvisoryLock::with_scheme("mine\u{1b}", |_: &str| 4711).tag_session();
    let guard = of_our_own.acquire(&pool).await.unwrap();
    let name = shown(&database, names).await;
    let arguments = ["terminate", "--yes", "--name", &name];
    let outcome = advisory(&database, &arguments).await;
    assert_done(&outcome, &["terminated", "4711", "`mine\u{fffd}`"]);
    assert!(
        !outcome.text().contains("advisory:"),
        "no raw tag: {outcome:?}"
    );
    drop(guard);
}

#[tokio::test]
async fn a_name_of_two_locks_is_refused() {
    let database = Database::new().await;
    let (_ours, _) = holder(&database, "nightly").await;
    let mut django = database.connection().await;
    let key = advisory_core::KeyScheme::key(&advisory_core::scheme::Sha256, "nightly");
    lock(&mut django, key).await.unwrap();
    let names = names_file("nightly\n");
    let names = names.to_str().unwrap();
    let arguments = ["terminate", "--yes", "--names", names, "--name", "nightly"];
    let refused = advisory(&database, &arguments).await;
    refused.assert_only_fails(2, "`nightly` names several locks, ");
    assert!(refused.stderr.contains("`--key-scheme`"), "{refused:?}");
    assert_eq!(database.advisory_locks().await.len(), 2);
}

#[tokio::test]
async fn a_forgotten_key_is_suggested() {
    let database = Database::new().await;
    for name in ["42", "(1, 7)", "[5,0,42,1]"] {
        let refused = advisory(&database, &["terminate", "--yes", "--name", name]).await;
        let hint = format!("`{name}` is a name here; `--key` makes it the key {name}");
        refused.assert_only_fails(1, &hint);
    }
}

#[tokio::test]
async fn a_key_of_the_servers_log_is_one_of_its_database() {
    let database = Database::new().await;
    let mut conn = database.connection().await;
    conn.execute("SELECT pg_advisory_lock(72707369)")
        .await
        .unwrap();
    let oid: i64 = scalar(&mut conn, DATABASE_OID).await;
    let key = |oid| format!("[{oid},0,72707369,1]");
    let refused = advisory(&database, &["terminate", "--yes", "-k", "--name", &key(1)]).await;
    let expected =
        "the key is one of database `template1`, whose oid is 1, and the connection is to ";
    refused.assert_only_fails(2, expected);
    let unknown = ["run", "-k", &key(4_000_000_000), "true"];
    let refused = advisory(&database, &unknown).await;
    refused.assert_only_fails(
        64,
        "a database of oid 4000000000, which this server does not have",
    );
    let arguments = ["terminate", "--yes", "-k", "--name", &key(oid)];
    assert_done(&advisory(&database, &arguments).await, &["terminated"]);
    let run = ["run", "-k", &key(oid), "printenv", "PG_ADVISORY_KEY"];
    assert_eq!(advisory(&database, &run).await.text(), "72707369\n");
}
