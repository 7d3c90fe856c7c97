//! A process that holds locks as another language's package does.
//!
//! It is asked in lines of JSON, and answers each with one: `{"do": "try", "name": …}` with `{"held": …}`, `{"do": "free", "name": …}`,
//! `{"do": "keys", "names": […]}` with `{"keys": […]}`, keys as [`Key`] reads them. Its first line, `{"package": …, "runtime": …}`,
//! says what it is.

use std::process::Stdio;
use std::time::Duration;

use advisory_core::Key;
use advisory_tests::Database;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::install::Runtime;
use crate::judge::Other;

/// How long an answer may take: one is ten thousand keys.
const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) struct Original {
    pub(crate) package: String,
    pub(crate) runtime: String,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Original {
    pub(crate) async fn start(runtime: &Runtime, original: &str, database: &Database) -> Self {
        let mut command = Command::new(&runtime.program);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PG")) {
                command.env_remove(name);
            }
        }
        let mut process = command
            .arg(&runtime.script)
            .arg(original)
            .envs(database.libpq())
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

    async fn ask(&mut self, request: Value) -> Result<Value, String> {
        self.send(request).await;
        self.answer().await
    }

    pub(crate) async fn send(&mut self, request: Value) {
        let line = format!("{request}\n");
        self.requests.write_all(line.as_bytes()).await.unwrap();
    }

    /// Its next answer; an error is what went wrong there.
    pub(crate) async fn answer(&mut self) -> Result<Value, String> {
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

impl Other for Original {
    fn describe(&self) -> String {
        format!("{} ({})", self.package, self.runtime)
    }

    async fn try_lock(&mut self, name: &str) -> Result<bool, String> {
        let answer = self.ask(json!({"do": "try", "name": name})).await?;
        Ok(answer["held"].as_bool().expect("it is true or false"))
    }

    async fn free(&mut self, name: &str) {
        self.ask(json!({"do": "free", "name": name})).await.unwrap();
    }

    async fn keys(&mut self, names: &[String]) -> Vec<Key> {
        let mut answer = self
            .ask(json!({"do": "keys", "names": names}))
            .await
            .unwrap();
        let keys = answer["keys"].take();
        let key = |key: &Value| key.as_str().expect("it is text").parse().unwrap();
        keys.as_array()
            .expect("it is a list")
            .iter()
            .map(key)
            .collect()
    }
}
