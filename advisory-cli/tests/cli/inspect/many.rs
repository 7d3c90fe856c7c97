//! `advisory ls` and `advisory tree` for a session with many locks.

use advisory_tests::Database;
use serde_json::Value;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use tokio::task::JoinHandle;

use crate::command::{
    ADVISORY, Running, advisory_command, assert_contains, names_file, printed, printed_json,
};
use crate::session::{holder, session, take_lock, wait, with_locks};
use crate::terminal::with_terminal;

/// A session with many locks, a session that waits for one of them, and a session with two locks.
struct Sessions {
    _holders: [PgConnection; 2],
    waits: JoinHandle<PgConnection>,
}

async fn sessions(database: &Database, count: usize) -> Sessions {
    let tenants = with_locks(database, "tenants", count).await;
    let waits = wait(database, session(database, "web").await, 7, 1).await;
    let mut cron = holder(database, "cron", 100_001).await;
    take_lock(&mut cron, true, 100_002).await;
    Sessions {
        _holders: [tenants, cron],
        waits,
    }
}

/// The key, the mode, the status and the application of each row below the head.
fn rows(table: &str) -> Vec<String> {
    let rows = table.lines().skip(1).map(|line| {
        let cells: Vec<_> = line
            .trim()
            .split("  ")
            .filter(|cell| !cell.is_empty())
            .collect();
        let cell = |index: usize| cells.get(index).map_or("", |cell| cell.trim());
        let status = cell(2).split(' ').next().unwrap_or_default();
        format!("{}, {}, {status}, {}", cell(0), cell(1), cell(4))
    });
    rows.collect()
}

/// The rows of `sessions`.
fn grouped(count: usize) -> [String; 5] {
    [
        "7, exclusive, held, tenants".to_owned(),
        "7, exclusive, waits, web".to_owned(),
        "100001, exclusive, held, cron".to_owned(),
        "100002, shared, held, cron".to_owned(),
        format!("{} locks, exclusive, held, tenants", count - 1),
    ]
}

#[tokio::test]
async fn many_locks_are_one_row_unless_every_lock_is_requested() {
    let database = Database::new().await;
    let sessions = sessions(&database, 2_000).await;
    let table = printed(&database, &["ls"]).await;
    assert_eq!(rows(&table), grouped(2_000), "{table}");
    let last = table.lines().last().unwrap();
    assert_contains(last, &["idle", "FROM generate_series(1,2000) g"]);
    let blocked = printed(&database, &["ls", "--blocked"]).await;
    assert_eq!(rows(&blocked), grouped(2_000)[..2], "{blocked}");

    let all = rows(&printed(&database, &["ls", "--all-locks"]).await);
    assert_eq!(all.len(), 2_003);
    assert_eq!(
        all[..2],
        ["1, exclusive, held, tenants", "2, exclusive, held, tenants"]
    );
    assert!(all.contains(&"2000, exclusive, held, tenants".to_owned()));
    let json: Vec<Value> = printed_json(&database, &["ls"]).await;
    assert_eq!(json.len(), 2_003);
    sessions.waits.abort();
}

#[tokio::test]
async fn a_watched_list_has_the_same_rows() {
    let database = Database::new().await;
    let sessions = sessions(&database, 100).await;
    let mut watch = Running::start(advisory_command(&database, &["ls", "--watch=0.1"]));
    let mut table = String::new();
    for _ in 0..=grouped(100).len() {
        table += &(watch.line().await + "\n");
    }
    assert_eq!(rows(&table), grouped(100), "{table}");
    assert_eq!(watch.line().await, "", "the table ends");

    let line = format!("{ADVISORY} ls --watch=0.1");
    let mut watch = Running::start(with_terminal(&database.url(), 100, &line));
    let seen = watch.until("99 locks").await;
    assert!(!seen.contains(" more"), "{seen:?}");
    watch.write(b"q").await.unwrap();
    assert_eq!(watch.end().await.code, 0);
    sessions.waits.abort();
}

#[tokio::test]
async fn the_tree_has_only_the_lock_that_is_waited_for() {
    let database = Database::new().await;
    let sessions = sessions(&database, 100).await;
    let tree = printed(&database, &["tree"]).await;
    let lines: Vec<_> = tree.lines().collect();
    assert_eq!(lines.len(), 3, "{tree}");
    assert_eq!(lines[0], "7");
    assert_contains(lines[1], &["holds", "tenants"]);
    assert_contains(lines[2], &["waits", "web"]);
    sessions.waits.abort();
}

#[tokio::test]
async fn ten_locks_are_ten_rows_and_eleven_are_one() {
    let database = Database::new().await;
    let mut few = with_locks(&database, "few", 10).await;
    let table = printed(&database, &["ls"]).await;
    assert_eq!(rows(&table).len(), 10, "{table}");
    few.execute("SELECT pg_advisory_lock_shared(1, 7)")
        .await
        .unwrap();
    let table = printed(&database, &["ls"]).await;
    assert_eq!(rows(&table), ["11 locks, exclusive, shared, held, few"]);
}

#[tokio::test]
async fn the_row_of_many_locks_has_the_first_of_their_names() {
    let database = Database::new().await;
    let _tenants = with_locks(&database, "tenants", 100).await;
    let lines: Vec<_> = (11..=100)
        .map(|key| format!("{key} = tenant:{key}"))
        .collect();
    let names = names_file(&lines.join("\n"));
    let path = names.to_str().unwrap();
    let table = printed(&database, &["ls", "--names", path]).await;
    assert_eq!(table.lines().count(), 2, "{table}");
    let row = " tenant:11, tenant:12, tenant:13, …  100 locks  exclusive  held";
    assert!(table.contains(row), "{table}");
}

#[tokio::test]
async fn a_lock_that_another_role_waits_for_keeps_its_row() {
    let database = Database::new().await;
    let mut owner = with_locks(&database, "tenants", 20).await;
    let other = database.role().await.connect().await.unwrap();
    let waits = wait(&database, other, 7, 1).await;
    let table = printed(&database, &["ls", "--mine"]).await;
    assert_eq!(
        rows(&table),
        [
            "7, exclusive, held, tenants",
            "19 locks, exclusive, held, tenants"
        ]
    );
    owner
        .execute("SELECT pg_advisory_unlock_all()")
        .await
        .unwrap();
    waits.await.unwrap().close().await.unwrap();
}
