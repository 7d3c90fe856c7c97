//! Exit codes.

use std::fs::{File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use advisory_tests::Database;
use tokio::process::Command;

use crate::command::{ADVISORY, advisory_command, command_with_url, output_of};

async fn assert_free(database: &Database) {
    database
        .assert_nothing_leaked(&database.pool(1).await)
        .await;
}

#[tokio::test]
async fn the_commands_exit_code_is_returned() {
    let database = Database::new().await;
    for code in [0, 1, 7, 69, 75, 76, 126, 127, 255] {
        let exit = format!("exit {code}");
        let run = advisory_command(&database, &["run", "a", "--", "sh", "-c", &exit]);
        output_of(run).await.assert_silent(code);
        assert_free(&database).await;
    }
}

#[tokio::test]
async fn a_signal_n_that_ends_the_command_exits_with_128_plus_n() {
    let database = Database::new().await;
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("INT", 130), ("SEGV", 139)] {
        let death = format!("kill -{signal} $$");
        let run = advisory_command(&database, &["run", "a", "--", "sh", "-c", &death]);
        output_of(run).await.assert_silent(code);
        assert_free(&database).await;
    }
}

#[tokio::test]
async fn a_missing_command_exits_with_127() {
    let database = Database::new().await;
    for command in [
        "no-such-command",
        "/no/such/command",
        "./no-such-command",
        "",
    ] {
        let run = advisory_command(&database, &["run", "a", "--", command, "argument"]);
        let message = format!("cannot run `{command}`: No such file");
        output_of(run).await.assert_only_fails(127, &message);
        assert_free(&database).await;
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
        let run = advisory_command(&database, &["run", "a", "--", command]);
        let message = format!("cannot run `{command}`: Permission denied");
        output_of(run).await.assert_only_fails(126, &message);
        assert_free(&database).await;
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
        let run = command_with_url(url, &["run", "a", "--", "echo", "ran"]);
        output_of(run)
            .await
            .assert_only_fails(69, "cannot connect to ");
    }
}

#[tokio::test]
async fn a_wrong_command_line_exits_with_2() {
    let seconds = "expected seconds from 0 to 2147483, such as `2` or `0.5`";
    let mistakes: [(&[&str], &str); 12] = [
        (&["run", "a"], "<COMMAND>"),
        (&["run", "a", "--"], "<COMMAND>"),
        (&["run", "a", "echo"], "unexpected argument"),
        (&["run", "--", "echo"], "<NAME>"),
        (&["run", "a", "--timeout", "-1", "--", "echo"], seconds),
        (&["run", "a", "--timeout", "nan", "--", "echo"], seconds),
        (&["run", "a", "--timeout", "1e300", "--", "echo"], seconds),
        (&["run", "a", "--grace", "-0.5", "--", "echo"], seconds),
        (
            &["run", "a", "--probe", "0", "--", "echo"],
            "from 0.1 to 86400",
        ),
        (
            &["run", "a", "--timeout", "1", "--no-wait", "--", "echo"],
            "cannot be used with",
        ),
        (
            &["run", "a", "--key-scheme", "sha3", "--", "echo"],
            "DjangoPglock",
        ),
        (&["run", "a", "--key", "--", "echo"], "expected a key"),
    ];
    for (arguments, message) in mistakes {
        let run = command_with_url("postgres:///none?host=/no/such/folder", arguments);
        let outcome = output_of(run).await;
        assert_eq!(
            (outcome.code, &*outcome.stdout),
            (2, &b""[..]),
            "{arguments:?}"
        );
        assert!(
            outcome.stderr.contains(message),
            "{arguments:?}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn the_help_lists_every_exit_code() {
    let mut help = Command::new(ADVISORY);
    help.args(["run", "--help"]);
    let outcome = output_of(help).await;
    outcome.assert_silent(0);
    let text = String::from_utf8(outcome.stdout).unwrap();
    for code in ["0", "1", "2", "69", "75", "76", "77", "126", "127", "128+n"] {
        let is_listed = |line: &str| line.trim_start().starts_with(&format!("{code}  "));
        assert!(text.lines().any(is_listed), "{code}: {text}");
    }
}
