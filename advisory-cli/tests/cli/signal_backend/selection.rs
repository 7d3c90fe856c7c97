//! The sessions that are selected.

use advisory_core::lock;
use advisory_tests::Database;

use super::session::{assert_alive, assert_count, assert_done, holder, waiter};
use crate::command::advisory;

#[tokio::test]
async fn waiters_and_holders_select_sessions() {
    let database = Database::new().await;
    let (mut conn, pid) = holder(&database, "nightly").await;
    let waiting = waiter(&database, "nightly").await;
    let arguments = ["terminate", "--name", "nightly", "--waiters", "--yes"];
    let outcome = advisory(&database, &arguments).await;
    assert_done(&outcome, &["terminated", "it no longer waits for"]);
    assert!(waiting.await.unwrap().is_err());
    assert_alive(&mut conn).await;

    let waiting = waiter(&database, "nightly").await;
    let both = ["--waiters", "--holders"];
    let arguments = [&["terminate", "--name", "nightly", "--yes"], &both[..]].concat();
    let outcome = advisory(&database, &arguments).await;
    assert_done(&outcome, &[&format!("terminated {pid}")]);
    assert_count(&outcome, "terminated", 2);
    assert!(waiting.await.unwrap().is_err());
    assert!(database.advisory_locks().await.is_empty());

    let (_conn, pid) = holder(&database, "nightly").await;
    let arguments = ["cancel", "--name", "nightly", "--holders", "--yes"];
    let refused = advisory(&database, &arguments).await;
    refused.assert_fails(1, &[&pid, "idle"]);
}

#[tokio::test]
async fn a_lock_is_selected_by_key_and_by_scheme() {
    let database = Database::new().await;
    for (key, arguments) in [
        ("42", &["--key", "--name", "42"][..]),
        ("-7", &["--key", "--name=-7"]),
        ("(1, 7)", &["--name", "1,7", "-k"]),
    ] {
        let mut conn = database.connection().await;
        lock(&mut conn, advisory_core::Key::parse(key).unwrap())
            .await
            .unwrap();
        let outcome = advisory(&database, &[&["terminate", "--yes"], arguments].concat()).await;
        assert_done(&outcome, &["terminated", "is free"]);
    }
    let mut conn = database.connection().await;
    let pglock = advisory_core::scheme::Sha256;
    lock(&mut conn, advisory_core::KeyScheme::key(&pglock, "nightly"))
        .await
        .unwrap();
    let of_scheme = async |scheme| {
        let nightly = ["--name", "nightly", "--key-scheme", scheme];
        advisory(&database, &[&["terminate", "--yes"], &nightly[..]].concat()).await
    };
    let other = of_scheme("crc32").await;
    other.assert_fails(1, &["nobody holds", "`nightly`"]);
    assert_done(&of_scheme("django-pglock").await, &["terminated"]);
    assert_eq!(of_scheme("sha3").await.code, 2);
}

#[tokio::test]
async fn pids_select_in_every_database_and_names_in_one() {
    let (database, other) = (Database::new().await, Database::new().await);
    let (_conn, pid) = holder(&other, "nightly").await;
    let here = advisory(&database, &["terminate", "--name", "nightly", "--yes"]).await;
    here.assert_fails(1, &["nobody holds"]);
    let outcome = advisory(&database, &["terminate", &pid, "--yes"]).await;
    assert_done(&outcome, &[other.name(), "is free"]);
    assert!(other.advisory_locks().await.is_empty());
}

#[tokio::test]
async fn pids_and_a_name_exclude_each_other() {
    let database = Database::new().await;
    for arguments in [
        &["cancel"][..],
        &["terminate", "1", "--name", "nightly"],
        &["cancel", "1", "--waiters"],
        &["cancel", "1", "--key"],
        &["cancel", "1", "--key-scheme", "Sha1"],
        &["cancel", "one"],
        &["terminate", "--name", "1", "--key", "--key-scheme", "Sha1"],
    ] {
        let refused = advisory(&database, arguments).await;
        assert_eq!((refused.code, refused.text()), (2, ""), "{arguments:?}");
    }
}
