//! Exit codes.

use std::fs::{File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use advisory_core::AdvisoryLock;
use advisory_tests::{Database, LockRow};
use tokio::process::Command;

use crate::command::{
    ADVISORY, Running, advisory, advisory_command, assert_contains, command_with_url, output_of,
    run_script,
};

#[tokio::test]
async fn the_commands_exit_code_is_returned() {
    let database = Database::new().await;
    for code in [0, 1, 7, 69, 75, 76, 126, 127, 255] {
        let exit = format!("exit {code}");
        let outcome = advisory(&database, &run_script(&[], &exit)).await;
        outcome.assert_silent(code);
        database.assert_nothing_left().await;
    }
}

#[tokio::test]
async fn a_signal_n_that_ends_the_command_exits_with_128_plus_n() {
    let database = Database::new().await;
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("INT", 130), ("SEGV", 139)] {
        let death = format!("kill -{signal} $$");
        let outcome = advisory(&database, &run_script(&[], &death)).await;
        outcome.assert_silent(code);
        database.assert_nothing_left().await;
    }
}

#[tokio::test]
async fn a_missing_command_exits_with_127() {
    let database = Database::new().await;
    for command in ["no-such", "/no/such/command", "./no-such", ""] {
        let outcome = advisory(&database, &["run", "a", "--", command, "argument"]).await;
        let message = format!("cannot run `{command}`: No such file");
        outcome.assert_only_fails(127, &message);
        database.assert_nothing_left().await;
    }
}

#[tokio::test]
async fn a_command_that_cannot_be_executed_exits_with_126() {
    let database = Database::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data");
    let created = File::create(&file).unwrap();
    created
        .set_permissions(Permissions::from_mode(0o644))
        .unwrap();
    for command in [&file, folder.path()] as [&std::path::Path; 2] {
        let command = command.to_str().unwrap();
        let outcome = advisory(&database, &["run", "a", "--", command]).await;
        let message = format!("cannot run `{command}`: Permission denied");
        outcome.assert_only_fails(126, &message);
        database.assert_nothing_left().await;
    }
}

#[tokio::test]
async fn an_unreachable_server_exits_with_69() {
    // Nothing listens on the port of a listener that is dropped.
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing = format!(
        "postgres://nobody@127.0.0.1:{}/none",
        port.local_addr().unwrap().port()
    );
    drop(port);
    for url in [&*refusing, "postgres:///none?host=/no/such/folder"] {
        for arguments in [&["run", "a", "--", "echo", "ran"][..], &["hold", "a"]] {
            let outcome = output_of(command_with_url(url, arguments)).await;
            outcome.assert_only_fails(69, "cannot connect to ");
        }
    }
}

/// 2, as of other commands, is the code of many programs that `run` runs.
#[tokio::test]
async fn a_wrong_command_line_exits_with_64() {
    let time = "expected seconds from 0 to 2147483, such as `2` or `0.5`, or a time such as `5m`";
    #[rustfmt::skip]
    let mistakes: [(&[&str], &str); 24] = [
        (&["run", "a"], "<COMMAND>"),
        (&["run", "a", "--"], "<COMMAND>"),
        (&["run", "a", "--unknown", "echo"], "unexpected argument"),
        (&["run", "--skip"], "<NAME>"),
        (&["run", "a", "-c", "true", "echo"], "cannot be used with"),
        (&["run", "a", "--timeout", "-1", "--", "echo"], time),
        (&["run", "a", "--timeout", "nan", "--", "echo"], time),
        (&["run", "a", "--timeout", "1e300", "--", "echo"], time),
        (&["run", "a", "--grace", "-0.5", "--", "echo"], time),
        (&["run", "a", "--probe", "0", "--", "echo"], "from 0.1 to 86400"),
        (&["run", "a", "--timeout", "1", "--no-wait", "--", "echo"], "cannot be used with"),
        (&["run", "a", "--skip", "-E", "1", "--", "echo"], "cannot be used with"),
        (&["run", "a", "--key-scheme", "sha3", "--", "echo"], "DjangoPglock"),
        (&["run", "a", "--key", "--", "echo"], "expected a key"),
        (&["run", "a", "--permits", "0", "--", "echo"], "0 is not in 1..=1000"),
        (&["run", "a", "--permits", "1001", "--", "echo"], "1001 is not in 1..=1000"),
        (&["run", "a", "--permits", "2", "--shared", "--", "echo"], "cannot be used with"),
        (&["run", "a", "--permits", "2", "--every", "1d", "--", "echo"], "cannot be used with"),
        (&["run", "a", "--every", "1mo", "--", "echo"], "no fixed length"),
        (&["run", "a", "--every", "0s", "--", "echo"], "expected a period"),
        (&["run", "a", "--every", "1", "--", "echo"], "expected a period"),
        (&["hold", "a", "--skip"], "unexpected argument '--skip'"),
        (&["lead", "a"], "<COMMAND>"),
        (&["lead", "--poll", "soon", "a", "echo"], "expected seconds from 0.1 to 86400"),
    ];
    for (arguments, message) in mistakes {
        let run = command_with_url("postgres:///none?host=/no/such/folder", arguments);
        let outcome = output_of(run).await;
        assert_eq!(
            (outcome.code, &*outcome.stdout),
            (64, &b""[..]),
            "{arguments:?}: {outcome:?}"
        );
        assert_contains(&outcome.stderr, &[message]);
    }
    // The other commands.
    let (seconds, connections) = (["bench", "--seconds", "0"], ["bench", "--connections", "0"]);
    for other in [&["runs"][..], &seconds, &connections] {
        let outcome = output_of(command_with_url("postgres:///none", other)).await;
        assert_eq!(outcome.code, 2, "they keep their code: {outcome:?}");
    }
}

/// What is neither in time nor the command's: not 1, which is the code of many programs.
#[tokio::test]
async fn a_cancelled_wait_exits_with_70() {
    let (database, pool) = Database::with_pool(1).await;
    let holder = AdvisoryLock::new("a").acquire(&pool).await.unwrap();
    let run = Running::start(advisory_command(&database, &["run", "a", "--", "true"]));
    database.wait_until_waiting(1).await;
    let is_waiting = |lock: &LockRow| !lock.granted;
    database.signal("pg_cancel_backend", is_waiting).await;
    run.fails(70, "canceling statement").await;
    holder.release().await.unwrap();
}

#[tokio::test]
async fn the_code_of_a_lock_that_is_not_acquired_can_be_chosen() {
    let (database, pool) = Database::with_pool(1).await;
    let holder = AdvisoryLock::new("a").acquire(&pool).await.unwrap();
    for (option, code) in [("-E", 0), ("-E", 9), ("--conflict-exit-code", 255)] {
        let text = code.to_string();
        let outcome = advisory(&database, &["run", "-n", option, &text, "a", "true"]).await;
        outcome.assert_only_fails(code, "`a` not acquired");
    }
    holder.release().await.unwrap();
}

#[tokio::test]
async fn the_help_lists_every_exit_code() {
    for subcommand in ["run", "hold"] {
        let mut help = Command::new(ADVISORY);
        help.args([subcommand, "--help"]);
        let outcome = output_of(help).await;
        outcome.assert_silent(0);
        let text = outcome.text();
        for code in "0 1 2 64 69 70 75 76 77 126 127 128+n".split(' ') {
            let is_listed = |line: &str| line.trim_start().starts_with(&format!("{code}  "));
            assert!(text.lines().any(is_listed), "{code}: {text}");
        }
    }
}
