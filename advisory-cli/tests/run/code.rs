//! How it ends.

use std::fs::{File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use advisory_tests::Database;
use tokio::process::Command;

use crate::command::{ADVISORY, advisory, ended, with_url};

async fn assert_free(database: &Database) {
    database
        .assert_nothing_leaked(&database.pool(1).await)
        .await;
}

#[tokio::test]
async fn the_commands_code_is_ours() {
    let database = Database::new().await;
    for code in [0, 1, 7, 69, 75, 76, 126, 127, 255] {
        let exit = format!("exit {code}");
        let run = advisory(&database, &["run", "a", "--", "sh", "-c", &exit]);
        ended(run).await.is_silent(code);
        assert_free(&database).await;
    }
}

#[tokio::test]
async fn a_death_by_a_signal_is_128_and_its_number() {
    let database = Database::new().await;
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("INT", 130), ("SEGV", 139)] {
        let death = format!("kill -{signal} $$");
        let run = advisory(&database, &["run", "a", "--", "sh", "-c", &death]);
        ended(run).await.is_silent(code);
        assert_free(&database).await;
    }
}

#[tokio::test]
async fn a_command_that_is_not_there_is_127() {
    let database = Database::new().await;
    for command in [
        "no-such-command",
        "/no/such/command",
        "./no-such-command",
        "",
    ] {
        let run = advisory(&database, &["run", "a", "--", command, "argument"]);
        let said = format!("cannot run `{command}`: No such file");
        ended(run).await.says(127, &said);
        assert_free(&database).await;
    }
}

#[tokio::test]
async fn a_command_that_cannot_be_executed_is_126() {
    let database = Database::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data");
    let created = File::create(&file).unwrap();
    created
        .set_permissions(Permissions::from_mode(0o644))
        .unwrap();
    for command in [&file, folder.path()] as [&std::path::Path; 2] {
        let command = command.to_str().unwrap();
        let run = advisory(&database, &["run", "a", "--", command]);
        let said = format!("cannot run `{command}`: Permission denied");
        ended(run).await.says(126, &said);
        assert_free(&database).await;
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_69() {
    // The listener keeps its port from others, and has no room for anybody by the time it is asked.
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing = format!(
        "postgres://nobody@127.0.0.1:{}/none",
        port.local_addr().unwrap().port()
    );
    drop(port);
    for url in [&*refusing, "postgres:///none?host=/no/such/folder"] {
        let run = with_url(
            Command::new(ADVISORY),
            url,
            &["run", "a", "--", "echo", "ran"],
        );
        ended(run).await.says(69, "cannot connect to ");
    }
}

#[tokio::test]
async fn a_wrong_command_line_is_2() {
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
    for (arguments, said) in mistakes {
        let run = with_url(
            Command::new(ADVISORY),
            "postgres:///none?host=/no/such/folder",
            arguments,
        );
        let outcome = ended(run).await;
        assert_eq!(
            (outcome.code, &*outcome.stdout),
            (2, &b""[..]),
            "{arguments:?}"
        );
        assert!(outcome.stderr.contains(said), "{arguments:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn the_help_tells_of_every_code() {
    let mut help = Command::new(ADVISORY);
    help.args(["run", "--help"]);
    let outcome = ended(help).await;
    outcome.is_silent(0);
    let text = String::from_utf8(outcome.stdout).unwrap();
    for code in ["0", "1", "2", "69", "75", "76", "77", "126", "127", "128+n"] {
        let is_told = |line: &str| line.trim_start().starts_with(&format!("{code}  "));
        assert!(text.lines().any(is_told), "{code}: {text}");
    }
}
