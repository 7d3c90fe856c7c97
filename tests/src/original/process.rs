//! A process that holds locks as somebody else's package does.
//!
//! It is asked in lines of JSON, and answers each with one: `{"do": "try", "name": …}` with `{"held": …}`, `{"do": "free", "name": …}`,
//! `{"do": "keys", "names": […]}` with `{"keys": […]}`, keys as [`Key`] reads them. Its first line, `{"package": …, "runtime": …}`,
//! says what it is.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::install::Runtime;
use crate::database::Database;

/// How long an answer may take: one is ten thousand keys.
const PATIENCE: Duration = Duration::from_mins(2);

/// A package of `tests/originals`, at work in a process of its own.
pub struct Original {
    /// The package and its version.
    pub package: String,
    /// What runs it.
    pub runtime: String,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Original {
    /// The process, on this database.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub async fn start(runtime: &Runtime, original: &str, database: &Database) -> Self {
        Self::start_with(runtime, original, database.libpq()).await
    }

    /// As [`start`](Self::start), where these variables say how the database is found.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub async fn start_with(
        runtime: &Runtime,
        original: &str,
        libpq: Vec<(&'static str, String)>,
    ) -> Self {
        let mut command = Command::new(&runtime.program);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PG")) {
                command.env_remove(name);
            }
        }
        let mut process = command
            .args(&runtime.script)
            .arg(original)
            .envs(libpq)
            .envs(runtime.packages.clone())
            .env_remove("WITH_ADVISORY_LOCK_PREFIX")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", runtime.program.display()));
        let requests = process.stdin.take().expect("it is piped");
        let answers = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let mut original = Self {
            package: original.to_owned(),
            runtime: String::new(),
            requests,
            answers,
            _process: process,
        };
        let ready = original.answer().await.unwrap();
        let text = |field: &str| ready[field].as_str().expect("it is text").to_owned();
        (original.package, original.runtime) = (text("package"), text("runtime"));
        original
    }

    /// Its answer to a request; an error is what went wrong there.
    ///
    /// # Panics
    ///
    /// If the process ends, or does not answer.
    pub async fn ask(&mut self, request: Value) -> Result<Value, String> {
        self.send(request).await;
        self.answer().await
    }

    /// Asks, and leaves the [`answer`](Self::answer) for later.
    ///
    /// # Panics
    ///
    /// If the process has ended.
    pub async fn send(&mut self, request: Value) {
        let line = format!("{request}\n");
        self.requests.write_all(line.as_bytes()).await.unwrap();
    }

    /// Its next answer; an error is what went wrong there.
    ///
    /// # Panics
    ///
    /// If the process ends, or does not answer.
    pub async fn answer(&mut self) -> Result<Value, String> {
        let answer = timeout(PATIENCE, self.answers.next_line()).await;
        let line = answer.unwrap_or_else(|_| panic!("{} answers", self.package));
        let line = line
            .unwrap()
            .unwrap_or_else(|| panic!("{} lives", self.package));
        let answer: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        match answer["error"].as_str() {
            Some(error) => Err(format!("{}: {error}", self.package)),
            None => Ok(answer),
        }
    }
}
