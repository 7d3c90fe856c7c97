//! `advisory lead`: a command that runs on exactly one machine.

#![cfg(unix)]

use std::time::Duration;

use advisory_tests::{Database, LockRow, Proxy, Server, Shutdown, print_notice};
use nix::sys::signal::Signal;
use sqlx::ConnectOptions as _;
use tokio::process::Command;
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::command::{
    ADVISORY, Running, advisory, advisory_command, command_with_url, with_stderr, with_url,
};

const LEADER: &str =
    "trap 'echo ended; exit 7' TERM; echo $ADVISORY_FENCE; while :; do sleep 0.05; done";

fn arguments<'a>(options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [
        &["lead", "a", "--poll", "0.1"],
        options,
        &["--", "sh", "-c", script],
    ]
    .concat()
}

fn lead(database: &Database, options: &[&str], script: &str) -> Running {
    Running::start(advisory_command(database, &arguments(options, script)))
}

async fn fence(running: &mut Running) -> i64 {
    let line = running.line().await;
    line.parse()
        .unwrap_or_else(|_| panic!("expected a fencing token, found `{line}`"))
}

#[tokio::test]
async fn it_exits_with_the_code_of_its_command() {
    let database = Database::new().await;
    let outcome = advisory(&database, &arguments(&[], "exit 3")).await;
    assert_eq!(outcome.code, 3);
    assert!(
        outcome.stderr.starts_with("advisory: leads `a`, term "),
        "{outcome:?}"
    );
    let missing = advisory(&database, &["lead", "a", "--", "/missing"]).await;
    assert_eq!(missing.code, 127, "{missing:?}");
    database.assert_nothing_left().await;
}

#[tokio::test]
async fn the_command_runs_on_one_machine_and_on_another_one_when_the_first_is_gone() {
    let database = Database::new().await;
    let mut one = lead(&database, &[], LEADER);
    let first = fence(&mut one).await;
    let mut two = lead(&database, &[], LEADER);
    // SIGTERM ends the command before the lock is given up.
    one.signal(Signal::SIGTERM);
    assert_eq!(one.line().await, "ended");
    assert_eq!(one.end().await.code, 7);
    let second = fence(&mut two).await;
    assert!(second > first);
    let mut three = lead(&database, &[], LEADER);
    two.signal(Signal::SIGKILL);
    let third = fence(&mut three).await;
    assert!(third > second);
    three.signal(Signal::SIGINT);
    three.signal(Signal::SIGTERM);
    three.end().await;
    database.assert_nothing_left().await;
}

#[tokio::test]
async fn a_command_whose_lock_is_lost_is_ended_and_started_again() {
    let database = Database::new().await;
    for grace in ["10", "0"] {
        let mut leader = lead(&database, &["--grace", grace], LEADER);
        let first = fence(&mut leader).await;
        database.terminate_lockers().await;
        let ended = leader.line().await;
        let second = if grace == "0" {
            ended.parse().unwrap()
        } else {
            assert_eq!(ended, "ended");
            fence(&mut leader).await
        };
        assert!(second > first);
        leader.signal(Signal::SIGTERM);
        let outcome = leader.end().await;
        assert_eq!(outcome.code, 7, "{outcome:?}");
        assert!(outcome.stderr.contains("the lock was lost"), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_command_that_ignores_sigterm_is_killed_before_it_starts_again() {
    let database = Database::new().await;
    let stubborn = "trap '' TERM; echo $ADVISORY_FENCE; while :; do sleep 0.05; done";
    let mut leader = lead(&database, &["--grace", "0.3"], stubborn);
    let first = fence(&mut leader).await;
    database.terminate_lockers().await;
    assert!(fence(&mut leader).await > first);
    leader.signal(Signal::SIGKILL);
    leader.end().await;
}

/// Starts one that waits for its turn, and returns when it has connected.
async fn candidate(database: &Database) -> Running {
    let url = format!("{}&application_name=candidate", database.url());
    let waits = Running::start(command_with_url(&url, &arguments(&[], "echo runs")));
    database
        .wait_until_backends("a candidate", |backends| {
            let mut names = backends.iter().map(|backend| &backend.application_name);
            names.any(|name| name.contains("candidate"))
        })
        .await;
    waits
}

#[tokio::test]
async fn a_signal_ends_the_wait() {
    let database = Database::new().await;
    let mut leader = lead(&database, &[], LEADER);
    fence(&mut leader).await;
    let waits = candidate(&database).await;
    waits.signal(Signal::SIGTERM);
    let outcome = waits.end().await;
    assert_eq!((outcome.code, outcome.text()), (143, ""), "{outcome:?}");
    leader.signal(Signal::SIGTERM);
    leader.end().await;
}

#[tokio::test]
async fn a_signal_that_ends_no_process_does_not_end_the_wait() {
    let database = Database::new().await;
    let mut leader = lead(&database, &[], LEADER);
    fence(&mut leader).await;
    let waits = candidate(&database).await;
    // As of a terminal that is resized, and of `fg`.
    waits.signal(Signal::SIGWINCH);
    waits.signal(Signal::SIGCONT);
    leader.signal(Signal::SIGTERM);
    leader.end().await;
    let outcome = waits.end().await;
    assert_eq!((outcome.code, outcome.text()), (0, "runs\n"), "{outcome:?}");
}

#[tokio::test]
async fn a_command_that_was_asked_to_end_is_not_started_again_if_its_lock_is_lost() {
    let database = Database::new().await;
    // It ends at the second SIGTERM, which follows the loss.
    let slow = "trap 'trap \"exit 7\" TERM; echo ending; sleep 20; exit 7' TERM
        echo $ADVISORY_FENCE; while :; do sleep 0.05; done";
    let mut leader = lead(&database, &["--grace", "10"], slow);
    fence(&mut leader).await;
    leader.signal(Signal::SIGTERM);
    assert_eq!(leader.line().await, "ending");
    database.terminate_lockers().await;
    let outcome = leader.end().await;
    assert_eq!((outcome.code, outcome.text()), (143, ""), "{outcome:?}");
    assert!(outcome.stderr.contains("the lock was lost"), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_survives_a_restart_of_the_server_and_a_refused_login_ends_it() {
    let server = block_in_place(Server::start).unwrap();
    let database = Database::on(&server).await;
    let mut leader = lead(&database, &["--grace", "0"], LEADER);
    let first = fence(&mut leader).await;
    server.stop(Shutdown::Immediate).await;
    sleep(Duration::from_secs(2)).await;
    server.restart(Shutdown::Immediate).await;
    assert!(fence(&mut leader).await > first);
    leader.signal(Signal::SIGTERM);
    let outcome = leader.end().await;
    assert!(!outcome.stderr.contains("server"), "{outcome:?}");
    let url = database.url().replace("user=postgres", "user=missing_role");
    let refused = Running::start(command_with_url(&url, &arguments(&[], "echo runs")));
    let outcome = refused.end().await;
    assert_eq!((outcome.code, outcome.text()), (69, ""), "{outcome:?}");
}

/// A release takes up to `--probe` then, and the server is found to be away before.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_command_that_has_ended_decides_the_exit_code_while_the_network_is_silent() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let mut url = proxy.options().to_url_lossy();
    url.query_pairs_mut().append_pair("connect_timeout", "1");
    let script = "echo $$; read line; exit 3";
    let arguments = arguments(&["--probe", "4"], script);
    let mut leader = Running::start(command_with_url(url.as_str(), &arguments));
    let command = leader.line().await;
    proxy.set_silent(true);
    leader.close_input();
    crate::process::wait_until_state(&command, " ").await;
    leader.signal(Signal::SIGTERM);
    let outcome = leader.end().await;
    assert_eq!((outcome.code, outcome.text()), (3, ""), "{outcome:?}");
}

/// The number in `advisory: leads `a`, term 42`.
async fn term(running: &mut Running) -> i64 {
    let lines = running.until("leads `a`, term ").await;
    let term = lines.trim_end().rsplit(' ').next();
    term.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_that_its_server_is_away_and_finds_the_new_primary_after_a_failover() {
    let primary = block_in_place(Server::start).unwrap();
    let database = Database::on(&primary).await;
    let standby = block_in_place(|| primary.standby()).unwrap();
    standby.wait_until_replayed(&primary).await;
    let promoted = Database::at(&standby, &database);
    // The standby first, which is not wanted.
    let [one, two] = [&standby, &primary].map(|server| server.socket_dir().unwrap().display());
    let name = database.name();
    let url = format!("host={one},{two} port=5432 user=postgres dbname={name}");
    let arguments = arguments(&["-v", "--grace", "0"], LEADER);
    let mut leader = Running::start(with_stderr(&url, &arguments));
    let first = term(&mut leader).await;
    database.wait_until_held(1).await;

    primary.stop(Shutdown::Kill).await;
    leader.until("the lock was lost").await;
    let away = leader.until("waiting for the server: ").await;
    let reason =
        format!("cannot connect to any of 2 servers: {one}, port 5432: it is a standby; {two}");
    assert!(away.contains(&reason), "{away}");
    standby.promote().await;
    leader.until("the server answers after ").await;
    assert!(term(&mut leader).await > first);
    promoted.wait_until_held(1).await;
    leader.signal(Signal::SIGTERM);
    // The signal ends the command, also before it has set its trap.
    let code = leader.end().await.code;
    assert!([7, 128 + 15].contains(&code), "{code}");
    promoted.assert_nothing_left().await;
}

/// As one that `sudo` starts.
#[tokio::test]
async fn a_command_that_cannot_be_ended_ends_before_it_starts_again() {
    let database = Database::new().await;
    let proxy = Proxy::start_tcp(&database);
    let url = proxy.options().to_url_lossy();
    let folder = tempfile::tempdir().unwrap();
    let setpriv = folder.path().join("setpriv");
    let as_nobody = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&setpriv);
        with_url(command, url.as_str(), &[ADVISORY])
    };
    // This fails unless this process is root, and where set-user-ID programs are ignored.
    let probe = as_nobody(
        "chmod 755 \"${0%/*}\" && cp \"$(command -v setpriv)\" \"$0\" && chmod 4755 \"$0\" &&
         exec setpriv --reuid=65534 \"$1\" run a -- \"$0\" --reuid=0 true",
    );
    if Running::start(probe).end().await.code != 0 {
        print_notice("SKIPPED a command of another user: this process cannot start one");
        return;
    }
    // The last two are children of a shell that SIGTERM ends, and of one that SIGKILL ends.
    for start in [
        "\"$0\" --reuid=0 sh -c",
        "sh -c '\"$0\" --reuid=0 sh -c \"$1\"; true' \"$0\"",
        "sh -c 'trap \"\" TERM; \"$0\" --reuid=0 sh -c \"$1\"; true' \"$0\"",
    ] {
        let mut leader = Running::start(as_nobody(&format!(
            "exec setsid setpriv --reuid=65534 \"$1\" lead a --poll 0.1 --grace 0.1 -- \
             {start} 'echo ready; read line; echo ended' 2>&1",
        )));
        leader.until("ready").await;
        let before = database.advisory_locks().await;
        database.terminate_lockers().await;
        leader
            .until("the command cannot be ended and goes on")
            .await;
        let leads_again = |lock: &LockRow| lock.pid != before[0].pid;
        database
            .wait_until_locks("it leads again", |locks| locks.iter().any(leads_again))
            .await;
        leader.write(b"\n").await.unwrap();
        assert_eq!(leader.line().await, "ended");
        leader.until("ready").await;
        leader.close_input();
        leader.end().await;
    }
}
