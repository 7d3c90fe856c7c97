//! `advisory tree`.

use advisory_tests::{Database, Server};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::command::{assert_contains, printed};
use crate::session::{holder, session, take_lock, wait};

async fn tree(database: &Database, options: &[&str]) -> String {
    printed(database, &[&["tree"], options].concat()).await
}

/// The tree without times and process ids.
fn shape(tree: &str) -> Vec<String> {
    let lines = tree.lines().map(|line| {
        let (session, about) = line.rsplit_once("  ").unwrap_or((line, ""));
        if !session.contains(['h', 'w']) {
            return line.to_owned();
        }
        let who = about.split(", ").next().unwrap_or_default();
        let session = session.trim_end_matches(|c: char| c.is_ascii_digit());
        format!("{session}{who}")
    });
    lines.collect()
}

#[tokio::test]
async fn a_chain_starts_at_the_session_that_blocks_the_others() {
    let database = Database::new().await;
    let root = holder(&database, "root", 100).await;
    let first = wait(&database, holder(&database, "first", 200).await, 100, 1).await;
    let second = wait(&database, holder(&database, "second", 300).await, 200, 2).await;
    let third = wait(&database, session(&database, "third").await, 300, 3).await;
    let drawn = tree(&database, &[]).await;
    let chain = [
        "100",
        "├── holds root",
        "└── waits first",
        "    └── 200",
        "        └── waits second",
        "            └── 300",
        "                └── waits third",
    ];
    assert_eq!(shape(&drawn), chain, "{drawn}");
    root.close().await.unwrap();
    for waiter in [first, second, third] {
        waiter.await.unwrap().close().await.unwrap();
    }
}

#[tokio::test]
async fn shared_holders_are_listed_before_the_queue() {
    let database = Database::new().await;
    let mut readers = Vec::new();
    for reader in ["reader-1", "reader-2", "reader-3"] {
        let mut conn = session(&database, reader).await;
        take_lock(&mut conn, true, "1, 7").await;
        readers.push(conn);
    }
    let writes = wait(&database, session(&database, "writer").await, "1, 7", 1).await;
    let drawn = tree(&database, &[]).await;
    let group = [
        "(1, 7)",
        "├── holds reader-1",
        "├── holds reader-2",
        "├── holds reader-3",
        "└── waits writer",
    ];
    assert_eq!(shape(&drawn), group, "{drawn}");
    assert_contains(&drawn, &["shared, idle in transaction", "exclusive, "]);
    for reader in readers {
        reader.close().await.unwrap();
    }
    writes.await.unwrap();
}

/// A session in which the deadlock of a test is not detected.
async fn session_in_deadlock(database: &Database, application: &str) -> PgConnection {
    let mut conn = session(database, application).await;
    conn.execute("SET deadlock_timeout = '10min'")
        .await
        .unwrap();
    conn
}

#[tokio::test]
async fn a_cycle_is_drawn_once() {
    let server = Server::start_with(&[("deadlock_timeout", "10min")]).unwrap();
    let database = Database::on(&server).await;
    let mut left = session_in_deadlock(&database, "left").await;
    let mut right = session_in_deadlock(&database, "right").await;
    take_lock(&mut left, false, 100).await;
    take_lock(&mut right, false, 200).await;
    let left = wait(&database, left, 200, 1).await;
    let right = wait(&database, right, 100, 2).await;
    let drawn = tree(&database, &[]).await;
    let circle = [
        "100",
        "├── holds left",
        "└── waits right",
        "    └── 200",
        "        └── waits left",
    ];
    assert_eq!(shape(&drawn), circle, "{drawn}");
    left.abort();
    right.abort();
}

#[tokio::test]
async fn locks_of_other_databases_name_their_database() {
    let database = Database::new().await;
    let other = Database::new().await;
    let _holder = holder(&other, "a", 4711).await;
    let waits = wait(&other, session(&other, "b").await, 4711, 1).await;
    assert!(tree(&database, &[]).await.starts_with("nobody waits"));
    let drawn = tree(&database, &["--all-databases"]).await;
    let title = format!("4711 in {}", other.name());
    assert!(drawn.lines().any(|line| line == title), "{drawn}");
    waits.abort();
}
