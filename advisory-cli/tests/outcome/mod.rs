//! Starts the command.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::process::Stdio;

use advisory_tests::Database;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use tokio::process::Command;

/// What has become of the command.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs it on a database, to its end, away from any terminal.
pub(crate) async fn advisory(database: &Database, arguments: &[&str]) -> Outcome {
    run(command(&database.url(), arguments)).await
}

/// The same, connected in another way.
pub(crate) async fn advisory_as(options: &PgConnectOptions, arguments: &[&str]) -> Outcome {
    run(command(options.to_url_lossy().as_str(), arguments)).await
}

pub(crate) fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_advisory"));
    command
        .args(arguments)
        .env("DATABASE_URL", url)
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

pub(crate) async fn run(mut command: Command) -> Outcome {
    let output = command.output().await.unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Outcome {
    /// One line on standard error, which says all of this; nothing else.
    #[track_caller]
    pub(crate) fn assert_fails(&self, code: i32, says: &[&str]) {
        let Self { stderr, stdout, .. } = self;
        assert_eq!(self.code, Some(code), "{stdout}{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("advisory: "), "{stderr}");
        for words in says {
            assert!(stderr.contains(words), "`{words}` in {stderr}");
        }
    }
}
