//! A process that takes locks with a package of another language.
//!
//! Requests and responses are lines of JSON. The first line of the process is
//! `{"package": …, "runtime": …}`.
//!
//! | request | response |
//! |---|---|
//! | `{"do": "try", "name": …}` | `{"held": …}` |
//! | `{"do": "free", "name": …}` | `{}` |
//! | `{"do": "measure", "name": …, "count": …}` | `{"nanoseconds": […]}`: one duration for each run |
//! | `{"do": "keys", "names": […]}` | `{"keys": […]}`, each as `Key` parses it |

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::runtime::Runtime;
use crate::database::Database;

/// How long a response may take. The longest one has ten thousand keys.
const RESPONSE_TIMEOUT: Duration = Duration::from_mins(2);

/// A package of `tests/originals` in a process of its own.
pub struct ForeignClient {
    /// The package and its version.
    pub package: String,
    /// The language and its version.
    pub runtime: String,
    requests: ChildStdin,
    responses: Lines<BufReader<ChildStdout>>,
    _process: Child,
    /// For its temporary files: it is killed, and cannot remove them.
    _folder: TempDir,
}

impl ForeignClient {
    /// Starts a process that is connected to `database`. `package` is the name of a class in the
    /// script of `runtime`.
    ///
    /// # Panics
    ///
    /// If the process cannot be started.
    pub async fn start(runtime: &Runtime, package: &str, database: &Database) -> Self {
        Self::start_with(runtime, package, database.libpq()).await
    }

    /// As [`start`](Self::start), with libpq's environment variables for the database.
    ///
    /// # Panics
    ///
    /// If the process cannot be started.
    pub async fn start_with(
        runtime: &Runtime,
        package: &str,
        libpq: Vec<(&'static str, String)>,
    ) -> Self {
        let mut command = Command::new(&runtime.program);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PG")) {
                command.env_remove(name);
            }
        }
        let folder = TempDir::new().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        let mut process = command
            .args(&runtime.script)
            .arg(package)
            .envs(libpq)
            .env("TMPDIR", folder.path())
            .envs(runtime.packages.clone())
            .env_remove("WITH_ADVISORY_LOCK_PREFIX")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", runtime.program.display()));
        let requests = process.stdin.take().expect("BUG: it is piped");
        let responses = BufReader::new(process.stdout.take().expect("BUG: it is piped")).lines();
        let mut client = Self {
            package: package.to_owned(),
            runtime: String::new(),
            requests,
            responses,
            _process: process,
            _folder: folder,
        };
        let ready = client.receive().await.unwrap();
        let text = |field: &str| ready[field].as_str().expect("the field is text").to_owned();
        (client.package, client.runtime) = (text("package"), text("runtime"));
        client
    }

    /// Sends a request and returns the response, or the error that the package has reported.
    ///
    /// # Panics
    ///
    /// If the process ends or does not respond.
    pub async fn request(&mut self, request: Value) -> Result<Value, String> {
        self.send(request).await;
        self.receive().await
    }

    /// Sends a request. [`receive`](Self::receive) returns the response.
    ///
    /// # Panics
    ///
    /// If the process has ended.
    pub async fn send(&mut self, request: Value) {
        let line = format!("{request}\n");
        self.requests.write_all(line.as_bytes()).await.unwrap();
    }

    /// Returns the next response, or the error that the package has reported.
    ///
    /// # Panics
    ///
    /// If the process ends or does not respond.
    pub async fn receive(&mut self) -> Result<Value, String> {
        let response = timeout(RESPONSE_TIMEOUT, self.responses.next_line()).await;
        let line = response.unwrap_or_else(|_| panic!("{} does not respond", self.package));
        let line = line
            .unwrap()
            .unwrap_or_else(|| panic!("{} has ended", self.package));
        let response: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        match response["error"].as_str() {
            Some(error) => Err(format!("{}: {error}", self.package)),
            None => Ok(response),
        }
    }
}
