//! `advisory hold`.

#![cfg(unix)]

use std::io::Write as _;
use std::process::Stdio;

use advisory_core::AdvisoryLock;
use advisory_tests::Database;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{
    ADVISORY, Running, advisory, advisory_command, assert_contains, output_of, wait_until, with_url,
};

const KEY: &str = "-2569294714323060629";
const HELD: &str = "advisory: holding `sync`, exclusive\n";

fn hold(database: &Database, options: &[&str]) -> Running {
    let arguments = [&["hold", "sync"], options].concat();
    Running::start(advisory_command(database, &arguments))
}

#[tokio::test]
async fn the_key_is_printed_once_held_and_a_signal_releases() {
    let (database, pool) = Database::with_pool(1).await;
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        let mut hold = hold(&database, &[]);
        assert_eq!(hold.line().await, KEY);
        let taken = AdvisoryLock::new("sync").try_acquire(&pool).await.unwrap();
        assert!(taken.is_none(), "it is held once its key is printed");
        hold.signal(signal);
        let outcome = hold.end().await;
        assert_eq!((outcome.code, &*outcome.stderr), (0, HELD), "{outcome:?}");
        assert!(
            database.advisory_locks().await.is_empty(),
            "released by its end"
        );
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn the_session_is_tagged_with_the_lock() {
    let database = Database::new().await;
    let mut hold = hold(&database, &[]);
    assert_eq!(hold.line().await, KEY);
    let backends = database.backends().await;
    let is_tagged = |name: &str| name.starts_with("advisory") && name.contains("sync");
    assert!(
        backends
            .iter()
            .any(|backend| is_tagged(&backend.application_name)),
        "{backends:?}"
    );
    hold.signal(Signal::SIGTERM);
    assert_eq!(hold.end().await.code, 0);
}

#[tokio::test]
async fn until_eof_releases_at_the_end_of_input() {
    let database = Database::new().await;
    let mut hold = hold(&database, &["--until-eof", "--shared"]);
    assert_eq!(hold.line().await, KEY);
    hold.write(b"not yet\n").await.unwrap();
    hold.close_input();
    let outcome = hold.end().await;
    assert_eq!(
        (outcome.code, &*outcome.stderr),
        (0, "advisory: holding `sync`, shared\n")
    );
    database.assert_nothing_left().await;
}

#[tokio::test]
async fn a_lost_lock_exits_with_76() {
    let database = Database::new().await;
    let mut hold = hold(&database, &[]);
    assert_eq!(hold.line().await, KEY);
    database.terminate_lockers().await;
    let outcome = hold.end().await;
    let stderr = format!(
        "{HELD}advisory: advisory lock `sync` was lost: its session or transaction has ended, \
         or other code has released it\n"
    );
    assert_eq!((outcome.code, outcome.stderr), (76, stderr));
}

#[tokio::test]
async fn a_taken_lock_exits_with_75() {
    let (database, pool) = Database::with_pool(1).await;
    let holder = AdvisoryLock::new("sync").acquire(&pool).await.unwrap();
    for wait in [&["--no-wait"][..], &["--timeout", "0.05"], &["-w", "50ms"]] {
        let arguments = [&["hold", "sync"], wait].concat();
        advisory(&database, &arguments)
            .await
            .assert_only_fails(75, "`sync` not acquired");
    }
    holder.release().await.unwrap();
}

#[tokio::test]
async fn a_signal_ends_the_wait() {
    let (database, pool) = Database::with_pool(1).await;
    let holder = AdvisoryLock::new("sync").acquire(&pool).await.unwrap();
    let hold = hold(&database, &[]);
    database.wait_until_waiting(1).await;
    hold.signal(Signal::SIGTERM);
    hold.end().await.assert_silent(143);
    database.wait_until_waiting(0).await;
    holder.release().await.unwrap();
}

#[tokio::test]
async fn a_closed_standard_output_releases() {
    let database = Database::new().await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = advisory_command(&database, &["hold", "sync"]);
    let status = command.stdout(writer).stderr(Stdio::null()).status().await;
    assert_eq!(status.unwrap().code(), Some(70));
    database.assert_nothing_left().await;
}

#[tokio::test]
async fn a_detached_hold_returns_once_the_lock_is_held_and_prints_its_pid() {
    let database = Database::new().await;
    let held = advisory(&database, &["hold", "--detach", "sync"]).await;
    assert_eq!((held.code, &*held.stderr), (0, HELD), "{held:?}");
    let pid: i32 = held.text().trim().parse().unwrap();
    assert_eq!(database.advisory_locks().await.len(), 1, "it is held");
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    database.wait_until_held(0).await;
    database.assert_nothing_left().await;
}

#[tokio::test]
async fn a_detached_hold_that_is_not_acquired_fails_as_any_other() {
    let (database, pool) = Database::with_pool(1).await;
    let holder = AdvisoryLock::new("sync").acquire(&pool).await.unwrap();
    let refused = advisory(&database, &["hold", "-d", "-n", "sync"]).await;
    refused.assert_only_fails(75, "`sync` not acquired");
    let refused = advisory(&database, &["hold", "-d", "-n", "-E", "9", "sync"]).await;
    refused.assert_only_fails(9, "`sync` not acquired");
    holder.release().await.unwrap();
}

/// A program that starts it can have ignored SIGCHLD, and then no exit code of a child is kept.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_detached_hold_fails_as_any_other_if_sigchld_is_ignored() {
    let (database, pool) = Database::with_pool(1).await;
    let holder = AdvisoryLock::new("sync").acquire(&pool).await.unwrap();
    let mut ignoring = tokio::process::Command::new("env");
    ignoring.args(["--ignore-signal=CHLD", ADVISORY]);
    let arguments = ["hold", "-d", "-n", "-E", "9", "sync"];
    let refused = output_of(with_url(ignoring, &database.url(), &arguments)).await;
    refused.assert_only_fails(9, "`sync` not acquired");
    holder.release().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_detached_hold_whose_pid_cannot_be_printed_leaves_nothing() {
    let database = Database::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sync.pid");
    let arguments = ["hold", "-d", "--pid-file", file.to_str().unwrap(), "sync"];
    let full = std::fs::File::create("/dev/full").unwrap();
    let mut command = advisory_command(&database, &arguments);
    let status = command.stdout(full).stderr(Stdio::null()).status().await;
    assert_eq!(status.unwrap().code(), Some(70));
    assert!(!file.exists(), "the file is removed");
    database.wait_until_held(0).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_detached_hold_leaves_the_queue_if_its_starter_is_killed() {
    let (database, pool) = Database::with_pool(1).await;
    let holder = AdvisoryLock::new("sync").acquire(&pool).await.unwrap();
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let hold = hold(&database, &["--detach"]);
        database.wait_until_waiting(1).await;
        hold.signal(signal);
        database.wait_until_waiting(0).await;
    }
    holder.release().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_detached_hold_writes_its_loss_to_a_file() {
    let database = Database::new().await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = advisory_command(&database, &["hold", "sync", "--detach"]);
    let command = command.stdout(Stdio::null()).stderr(log.reopen().unwrap());
    assert_eq!(command.status().await.unwrap().code(), Some(0));
    database.terminate_lockers().await;
    let is_logged = || {
        let text = std::fs::read_to_string(log.path()).unwrap();
        text.starts_with(HELD) && text.contains("was lost")
    };
    wait_until("the loss is written", is_logged).await;
}

#[tokio::test]
async fn the_pid_file_is_there_while_the_lock_is_held() {
    let database = Database::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sync.pid");
    let path = file.to_str().unwrap();
    for options in [&["--pid-file", path][..], &["--pid-file", path, "--detach"]] {
        let mut hold = hold(&database, options);
        let line = hold.line().await;
        let pid = std::fs::read_to_string(&file).unwrap();
        assert!(line == KEY || line == pid.trim(), "{line}");
        let pid = Pid::from_raw(pid.trim().parse().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        database.wait_until_held(0).await;
        wait_until("the file is removed", || !file.exists()).await;
        assert_eq!(hold.end().await.code, 0);
    }
    let refused = advisory(&database, &["hold", "sync", "--pid-file", "/no/such/file"]).await;
    refused.assert_fails(70, &["the pid file /no/such/file cannot be written"]);
    database.assert_nothing_left().await;
}

/// A process that runs until it is killed.
fn process() -> tokio::process::Child {
    let mut process = tokio::process::Command::new("sleep");
    process.arg("3600").kill_on_drop(true).spawn().unwrap()
}

#[tokio::test]
async fn it_ends_with_another_process_even_if_that_is_not_reaped() {
    let database = Database::new().await;
    let mut script = process();
    let pid = script.id().unwrap().to_string();
    let mut hold = hold(&database, &["--while-pid", &pid]);
    assert_eq!(hold.line().await, KEY);
    // A zombie, until `wait`.
    script.start_kill().unwrap();
    let outcome = hold.end().await;
    assert_eq!((outcome.code, &*outcome.stderr), (0, HELD), "{outcome:?}");
    script.wait().await.unwrap();
    database.assert_nothing_left().await;
    let refused = advisory(&database, &["hold", "sync", "--while-pid", &pid]).await;
    refused.assert_only_fails(64, &format!("there is no process {pid}"));
}

#[tokio::test]
async fn its_wait_ends_with_another_process_too() {
    let (database, pool) = Database::with_pool(1).await;
    let holder = AdvisoryLock::new("sync").acquire(&pool).await.unwrap();
    let mut script = process();
    let pid = script.id().unwrap().to_string();
    let hold = hold(&database, &["-E", "9", "--while-pid", &pid]);
    database.wait_until_waiting(1).await;
    script.kill().await.unwrap();
    let expected = format!("process {pid} has ended before the lock was held");
    hold.end().await.assert_only_fails(9, &expected);
    database.wait_until_waiting(0).await;
    holder.release().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_script_that_is_killed_leaves_no_detached_hold_behind() {
    let database = Database::new().await;
    let script = "pid=$(\"$0\" hold --detach --while-pid $$ sync 2>&1); echo \"$pid\"; read line";
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", script, ADVISORY]);
    let mut shell = Running::start(with_url(shell, &database.url(), &[]));
    assert_eq!(shell.line().await, HELD.trim());
    let pid = shell.line().await;
    database.wait_until_held(1).await;
    shell.signal(Signal::SIGKILL);
    crate::process::wait_until_state(&pid, " Z").await;
    database.assert_nothing_left().await;
}

#[tokio::test]
async fn until_eof_refuses_an_input_that_has_ended() {
    let database = Database::new().await;
    let empty = || Stdio::from(std::fs::File::open("/dev/null").unwrap());
    let file = || {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"content").unwrap();
        Stdio::from(file)
    };
    let closed_pipe = || Stdio::from(std::io::pipe().unwrap().0);
    for input in [empty(), file(), closed_pipe()] {
        let mut command = advisory_command(&database, &["hold", "sync", "--until-eof"]);
        let output = command.stdin(input).output().await.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), &*output.stdout),
            (Some(64), &b""[..]),
            "{stderr}"
        );
        assert_contains(&stderr, &["already at its end", "<&3 &", "--while-pid $$"]);
    }
}

#[tokio::test]
async fn the_end_of_input_ends_the_wait() {
    let (database, pool) = Database::with_pool(1).await;
    let holder = AdvisoryLock::new("sync").acquire(&pool).await.unwrap();
    let mut hold = hold(&database, &["--until-eof"]);
    database.wait_until_waiting(1).await;
    hold.close_input();
    let expected = "standard input has ended before the lock was held";
    hold.end().await.assert_only_fails(75, expected);
    holder.release().await.unwrap();
}
