//! `ls` and `tree` of a lock with several permits.

use advisory_core::{AdvisoryLock, Key, LockSession};
use advisory_tests::Database;
use serde_json::Value;

use super::command_page::{block, masked};
use crate::command::{names_file, printed, printed_json};
use crate::export::{Crowd, export, pool, wait_until_queued};
use crate::session::holder;

async fn rows(database: &Database, arguments: &[&str]) -> Vec<Value> {
    printed_json(database, &[&["ls"], arguments].concat()).await
}

#[tokio::test]
async fn a_name_lists_every_slot_of_its_lock_and_the_queue_and_no_other_lock() {
    let database = Database::new().await;
    let _other = holder(&database, "other", 42).await;
    let crowd = Crowd::gather(&database).await;
    let rows = rows(&database, &["export"]).await;
    let what: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["name"].as_str().unwrap(),
                row["slot"].as_u64().unwrap(),
                row["application_name"].as_str().unwrap(),
            )
        })
        .collect();
    let holders = [what[0].2, what[1].2];
    assert!(
        holders == ["one", "two"] || holders == ["two", "one"],
        "{what:?}"
    );
    assert_eq!((what[0].0, what[0].1), ("export", 1));
    assert_eq!((what[1].0, what[1].1), ("slot 2 of export", 2));
    let queue = [
        ("queue of export", 0, "first"),
        ("queue of export", 0, "second"),
    ];
    assert_eq!(what[2..], queue);
    // The first in the queue waits for those who hold the permits.
    let pid = |row: &Value| row["pid"].as_i64().unwrap();
    let mut held: Vec<_> = rows[..2].iter().map(pid).collect();
    held.sort_unstable();
    assert_eq!(rows[2]["blocked_by"], serde_json::json!(held));
    assert_eq!(rows[3]["blocked_by"], serde_json::json!([pid(&rows[2])]));
    let table = printed(&database, &["ls", "--blocked", "export"]).await;
    for status in ["held", "waits"] {
        assert_eq!(table.matches(status).count(), 2, "{table}");
    }
    let part = printed(&database, &["ls", "slot 2 of export"]).await;
    assert_eq!(part.lines().count(), 2, "{part}");
    assert!(part.contains("slot 2 of export"), "{part}");
    crowd.end().await;
    let free = printed(&database, &["ls", "export"]).await;
    assert!(
        free.starts_with("nobody holds advisory lock `export` in "),
        "{free}"
    );
    let free = printed(&database, &["tree", "export"]).await;
    assert!(
        free.starts_with("nobody waits for advisory lock `export` in "),
        "{free}"
    );
}

#[tokio::test]
async fn the_tree_shows_the_holders_of_all_permits_and_those_who_wait_for_one() {
    let database = Database::new().await;
    let crowd = Crowd::gather(&database).await;
    let tree = printed(&database, &["tree", "export"]).await;
    let key = export().keys()[0].to_string();
    assert_eq!(
        tree.lines().next(),
        Some(&*format!("export {key}")),
        "{tree}"
    );
    // Without the applications.
    let as_shown = ["one", "two", "first", "second"]
        .iter()
        .fold(tree.clone(), |tree, name| {
            tree.replace(&format!(" {name}, "), " web, ")
        });
    let page = block("advisory tree export");
    assert_eq!(masked(page), masked(&as_shown), "{tree}");
    for (line, slot) in tree.lines().skip(1).zip(["slot 1, ", "slot 2, "]) {
        assert!(line.contains(slot), "{tree}");
    }
    assert!(tree.lines().nth(3).unwrap().contains(" first, "), "{tree}");
    crowd.end().await;
}

/// A tagged session names its own permit, those of others, and the queue.
#[tokio::test]
async fn a_session_with_the_name_of_the_lock_names_all_of_its_parts() {
    let database = Database::new().await;
    let tagged = pool(&database, "tagged").await;
    let guard = export().tag_session().acquire(&tagged).await.unwrap();
    let unnamed = pool(&database, "unnamed").await;
    let other = export().begin(&unnamed).await.unwrap();
    let waiting = pool(&database, "waiting").await;
    let waiter = tokio::spawn(async move { export().begin(&waiting).await });
    wait_until_queued(&database, 1).await;
    let rows = rows(&database, &[]).await;
    let names: Vec<_> = rows
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["export", "slot 2 of export", "queue of export"]);
    guard.release().await.unwrap();
    drop(waiter.await.unwrap().unwrap());
    drop(other);
}

/// The names of a file, for keys of both kinds, and permits that a `LockSession` holds.
#[tokio::test]
async fn a_names_file_names_the_slots() {
    let database = Database::new().await;
    let pool = pool(&database, "worker").await;
    let locks = LockSession::new(&pool);
    let pair = AdvisoryLock::new(Key::IntPair(7, 42)).permits(3);
    let mut held = Vec::new();
    for lock in [export(), export(), pair.clone(), pair.clone(), pair] {
        held.push(lock.acquire(&locks).await.unwrap());
    }
    let names = names_file("export\n(7, 42) = pairs\n");
    let rows = rows(&database, &["--names", names.to_str().unwrap()]).await;
    let mut names: Vec<_> = rows
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    let expected = [
        "export",
        "pairs",
        "slot 2 of export",
        "slot 2 of pairs",
        "slot 3 of pairs",
    ];
    assert_eq!(names, expected);
    locks.close().await;
    drop(held);
}
