//! The account the server runs under: PostgreSQL refuses to run as root.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User};

/// Our own account, or an ordinary one if we are root.
pub(crate) struct Account {
    other: Option<User>,
}

impl Account {
    pub(crate) fn ours() -> Self {
        Self { other: None }
    }

    pub(crate) fn for_server() -> Result<Self, String> {
        if !Uid::effective().is_root() {
            return Ok(Self::ours());
        }
        // A uid alone is not enough: `initdb` looks its name up.
        let other = ["postgres", "nobody"]
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten());
        match other {
            Some(user) => Ok(Self { other: Some(user) }),
            None => Err("running as root, and there is no account `postgres` or `nobody` to run a server under".into()),
        }
    }

    /// True if commands run under another account than ours.
    pub(crate) fn is_other(&self) -> bool {
        self.other.is_some()
    }

    /// A command under this account, in a folder it can reach, with nothing of `PGPORT` and its like in the environment.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .env("LC_ALL", "C");
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PG")) {
                command.env_remove(name);
            }
        }
        if let Some(user) = &self.other {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }
}
