//! `advisory ls` on a terminal of 80 columns, and with wide characters.

use advisory_core::{AdvisoryLock, Key};
use advisory_tests::Database;
use sqlx::Executor as _;
use unicode_width::UnicodeWidthStr as _;

use crate::command::{ADVISORY, Running, advisory_command, assert_contains, names_file, printed};
use crate::session::{holder, pid, session, wait};
use crate::terminal::{Terminal, with_terminal};

async fn shown(database: &Database, arguments: &[&str]) -> String {
    let mut command = advisory_command(database, arguments);
    command.env("NO_COLOR", "1");
    Terminal::new().show(command).await.replace('\r', "")
}

#[tokio::test]
async fn at_80_columns_the_lock_its_status_and_the_sessions_remain() {
    let database = Database::new().await;
    let key = Key::from("a report of everything that there is");
    let mut blocker = holder(&database, "an application with a rather long name", key).await;
    let waits = wait(&database, session(&database, "web").await, key, 1).await;
    let pid = pid(&mut blocker).await.to_string();
    let names = names_file("a report of everything that there is\n");
    let path = names.to_str().unwrap();
    for (arguments, lock) in [
        (&["ls", "-a", "--names", path][..], "LOCK"),
        (&["ls"], "KEY"),
    ] {
        let table = shown(&database, arguments).await;
        let head = table.lines().next().unwrap();
        assert_contains(head, &[lock, "STATUS", "PID", "BLOCKED BY"]);
        assert!(table.lines().all(|line| line.width() <= 80), "{table}");
        // `-a` shows the locks of other tests, too.
        let is_ours = |line: &&str| line.contains("a report") || line.contains(&key.to_string());
        let mut ours = table.lines().filter(is_ours);
        let waiter = ours.find(|line| line.contains("waits")).unwrap();
        assert!(waiter.trim_end().ends_with(&pid), "{table}");
    }
    let line = format!("{ADVISORY} ls --watch=0.1 --names {path}");
    let mut watch = Running::start(with_terminal(&database.url(), 80, &line));
    let seen = watch.until("waits").await;
    assert_contains(&seen, &["BLOCKED BY", "PID"]);
    watch.write(b"q").await.unwrap();
    assert_eq!(watch.end().await.code, 0);
    drop(blocker);
    waits.await.unwrap();
}

#[tokio::test]
async fn wide_characters_take_their_columns() {
    let (database, pool) = Database::with_pool(4).await;
    let wide = "同期".repeat(20);
    let lock = AdvisoryLock::new(wide.as_str());
    let _guard = lock.acquire(&pool).await.unwrap();
    let _emoji = AdvisoryLock::new("👩‍🚀 launch").acquire(&pool).await.unwrap();
    let names = names_file(&format!("{wide}\n👩‍🚀 launch\n"));
    let path = names.to_str().unwrap();
    let table = shown(&database, &["ls", "--names", path]).await;
    assert_contains(&table, &["同期", "…"]);
    assert!(table.lines().all(|line| line.width() <= 80), "{table}");
    let status_at: Vec<_> = table
        .lines()
        .filter_map(|line| {
            line.find("held")
                .or_else(|| line.find("STATUS"))
                .map(|at| line[..at].width())
        })
        .collect();
    assert_eq!(status_at.len(), 3, "{table}");
    assert!(
        status_at.iter().all(|at| *at == status_at[0]),
        "{status_at:?}\n{table}"
    );
}

#[tokio::test]
async fn a_tag_cannot_move_the_cursor() {
    let (database, pool) = Database::with_pool(1).await;
    let lock = AdvisoryLock::new("bell\u{7}\u{1b}[2J").tag_session();
    let guard = lock.acquire(&pool).await.unwrap();
    let key = Key::from("bell\u{7}\u{1b}[2J");
    let waits = wait(&database, session(&database, "web").await, key, 1).await;
    for subcommand in ["ls", "tree"] {
        let text = printed(&database, &[subcommand]).await;
        assert!(text.contains("bell\u{fffd}\u{fffd}[2J"), "{text:?}");
        assert!(!text.contains(['\u{7}', '\u{1b}']), "{text:?}");
    }
    guard.release().await.unwrap();
    waits.await.unwrap();
}

#[tokio::test]
async fn the_query_is_not_the_message_of_the_library() {
    let (database, pool) = Database::with_pool(2).await;
    let lock = AdvisoryLock::new("a").tag_statement();
    let guard = lock.acquire(&pool).await.unwrap();
    let mut tx = AdvisoryLock::new("b").begin(&pool).await.unwrap();
    let before = printed(&database, &["ls"]).await;
    assert!(!before.contains("QUERY"), "{before}");
    tx.execute("SELECT 'what it does'").await.unwrap();
    let text = printed(&database, &["ls"]).await;
    assert_contains(&text, &["QUERY", "SELECT 'what it does'"]);
    assert!(!text.contains("/* advisory "), "{text}");
    let json = printed(&database, &["ls", "--json"]).await;
    // All of it.
    assert_contains(&json, &["/* advisory "]);
    guard.release().await.unwrap();
}
