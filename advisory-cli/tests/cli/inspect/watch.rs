//! `advisory ls --watch`.

use advisory_tests::{Database, Server, scalar};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sqlx::Executor as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::command::{ADVISORY, Running, TIMEOUT, advisory_command, assert_contains, with_url};
use crate::session::holder;
use crate::terminal::with_terminal;

#[tokio::test]
async fn json_lists_follow_one_another() {
    let database = Database::new().await;
    let arguments = ["ls", "--watch=0.1", "--json"];
    let mut watch = Running::start(advisory_command(&database, &arguments));
    assert_eq!(watch.line().await, "[]");
    let _holder = holder(&database, "billing", 42).await;
    loop {
        let rows: Vec<Value> = serde_json::from_str(&watch.line().await).unwrap();
        if let [row] = &rows[..] {
            assert_eq!(row["application_name"], "billing");
            break;
        }
    }
    watch.signal(Signal::SIGTERM);
    watch.end().await;
}

#[tokio::test]
async fn a_reader_that_closes_the_pipe_is_not_an_error() {
    let database = Database::new().await;
    let url = database.url();
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" \"$@\" | head -n 1; echo done", ADVISORY]);
    let shell = with_url(shell, &url, &["ls", "--watch=0.1"]);
    let ended = crate::command::output_of(shell).await;
    ended.assert_silent(0);
    assert!(ended.stdout.ends_with(b"done\n"));
}

/// The command is ended while it waits for a list.
#[tokio::test]
async fn a_terminal_is_redrawn_in_place_and_restored() {
    let server = Server::start().unwrap();
    let database = Database::on(&server).await;
    for is_killed in [false, true] {
        let mut holder = holder(&database, "billing", 42).await;
        let line = format!(
            "sh -c 'echo $$; exec {ADVISORY} ls --watch=0.1'; \
             stty -a | tr ' ' '\\n' | grep -x '[-]*icanon'"
        );
        let mut watch = Running::start(with_terminal(&database.url(), 100, &line));
        let pid = Pid::from_raw(watch.line().await.parse().unwrap());
        let mut seen = watch.until("billing").await;
        // The list has the names of the databases.
        let block = "LOCK pg_database IN ACCESS EXCLUSIVE MODE";
        holder.execute(block).await.unwrap();
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        let is_awaited = async { while scalar::<i64>(&mut holder, waiting).await == 0 {} };
        timeout(TIMEOUT, is_awaited).await.unwrap();
        if is_killed {
            kill(pid, Signal::SIGINT).unwrap();
        } else {
            watch.write(b"q").await.unwrap();
        }
        let ended = watch.end().await;
        seen += &String::from_utf8_lossy(&ended.stdout);
        assert_eq!(ended.code, 0, "{seen:?}");
        let (first, last) = seen
            .rsplit_once("\u{1b}[?1049l")
            .expect("it leaves its screen");
        assert_contains(first, &["\u{1b}[?1049h", "\u{1b}[?25l"]);
        assert_contains(first, &["every 100 ms", "q ends it"]);
        assert!(
            last.trim().ends_with("icanon") && !last.contains("-icanon"),
            "{last:?}"
        );
        assert!(
            first.contains("\u{1b}[38;5;10m") || first.contains("\u{1b}[32m"),
            "coloured: {first:?}"
        );
    }
}
