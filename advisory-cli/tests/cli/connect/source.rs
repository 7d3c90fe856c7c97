//! A run of the command with nothing but the given environment.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use advisory_tests::Database;
use tempfile::TempDir;
use tokio::process::Command;

use crate::command::{ADVISORY, Outcome, output_of};

/// The environment of a command: a home of its own, and the variables that are set.
pub(crate) struct Source {
    home: TempDir,
    variables: Vec<(String, String)>,
}

impl Source {
    /// Only a home, which is empty.
    pub(crate) fn empty() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        }
    }

    /// libpq's variables for a database.
    pub(crate) fn of(database: &Database) -> Self {
        let mut source = Self::empty();
        for (name, value) in database.libpq() {
            source = source.with(name, &value);
        }
        source
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self
    }

    /// The value of a variable that is set.
    pub(crate) fn get(&self, name: &str) -> &str {
        let found = self.variables.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// Writes a file into the home, which only its owner can read.
    pub(crate) fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Outcome {
        output_of(self.command(ADVISORY, arguments)).await
    }

    /// Another program in the same environment.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .envs(variables)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs `ls`, which names the database that it has looked in.
    pub(crate) async fn database(&self, url: Option<&str>) -> Result<String, Outcome> {
        let mut arguments = vec!["ls"];
        arguments.extend(url.map(|_| "--database-url"));
        arguments.extend(url);
        let outcome = self.run(&arguments).await;
        if outcome.code != 0 {
            return Err(outcome);
        }
        let text = outcome.text().to_owned();
        let (_, rest) = text.split_once("in database `").unwrap_or(("", &text));
        Ok(rest.split('`').next().unwrap_or_default().to_owned())
    }

    #[track_caller]
    pub(crate) fn assert_is(found: &Result<String, Outcome>, database: &Database, what: &str) {
        assert_eq!(
            found.as_deref().ok(),
            Some(database.name()),
            "{what}: {found:?}"
        );
    }
}
