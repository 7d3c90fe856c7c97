//! `pgbench`, which sends the bare statements from C and shows the maximum throughput of the
//! server.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use advisory_tests::{Database, Server};
use tokio::process::Command;

/// A script of `pgbench`, and the protocol with which its statements are sent.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) text: String,
    pub(crate) protocol: &'static str,
}

impl Script {
    /// A script with one prepared statement on each line.
    pub(crate) fn prepared(statements: &[&str]) -> Self {
        Self::of(
            statements.iter().map(|statement| (*statement).to_owned()),
            "prepared",
        )
    }

    /// A script with one message of the simple protocol on each line, which may have several
    /// statements.
    pub(crate) fn messages(messages: impl Iterator<Item = String>) -> Self {
        Self::of(
            messages.map(|message| message.replace(';', "\\;")),
            "simple",
        )
    }

    fn of(lines: impl Iterator<Item = String>, protocol: &'static str) -> Self {
        let key = "\\set key random(1, 1000000000000000)\n".to_owned();
        let text = std::iter::once(key).chain(lines.map(|line| line + ";\n"));
        Self {
            text: text.collect(),
            protocol,
        }
    }
}

pub(crate) struct Pgbench {
    program: PathBuf,
    folder: tempfile::TempDir,
    libpq: Vec<(&'static str, String)>,
}

impl Pgbench {
    /// An error, with the reason, if there is no `pgbench` that runs.
    pub(crate) fn find(server: &Server, database: &Database) -> Result<Self, String> {
        Ok(Self {
            program: server.program("pgbench")?,
            folder: tempfile::tempdir().map_err(|error| error.to_string())?,
            libpq: database.libpq(),
        })
    }

    /// Runs the script repeatedly on so many connections, and returns the number of runs per
    /// second.
    pub(crate) async fn run(&self, script: &Script, connections: u32, length: Duration) -> f64 {
        let file = self.folder.path().join("script.sql");
        std::fs::write(&file, &script.text).expect("a script can be written");
        let mut command = self.command(&file, script.protocol, connections, length);
        let output = command.stdin(Stdio::null()).output().await;
        let output = output.expect("pgbench can be run");
        let output_text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pgbench: {errors}");
        tps(&output_text).unwrap_or_else(|| panic!("pgbench: {output_text}{errors}"))
    }

    fn command(&self, file: &Path, protocol: &str, connections: u32, length: Duration) -> Command {
        // `pgbench` accepts whole seconds. Zero seconds, as in a smoke run, become three runs.
        let (unit, amount) = match length.as_secs() {
            0 => ("--transactions", 3),
            seconds => ("--time", seconds),
        };
        let connections = connections.to_string();
        let mut command = Command::new(&self.program);
        command
            .envs(self.libpq.clone())
            .args([
                "--no-vacuum",
                "--client",
                &connections,
                unit,
                &amount.to_string(),
            ])
            .args(["--protocol", protocol, "--file"])
            .arg(file);
        command
    }
}

fn tps(output_text: &str) -> Option<f64> {
    let line = output_text
        .lines()
        .find(|line| line.starts_with("tps = "))?;
    line.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_read_from_the_output() {
        let output_text =
            "latency average = 0.1 ms\ntps = 7853.512345 (without initial connection time)\n";
        assert_eq!(tps(output_text), Some(7_853.512_345));
        assert_eq!(tps("pgbench: error"), None);
    }

    #[test]
    fn statements_of_a_message_are_not_split() {
        let script = Script::messages(["BEGIN;SELECT 1".to_owned()].into_iter());
        assert!(
            script.text.ends_with("\nBEGIN\\;SELECT 1;\n"),
            "{}",
            script.text
        );
    }
}
