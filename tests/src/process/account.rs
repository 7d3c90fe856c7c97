//! The account that servers run under. PostgreSQL refuses to run as root.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User};

/// The account of this process, or an ordinary account if this process runs as root.
pub(crate) struct Account {
    other: Option<User>,
}

impl Account {
    /// The account of this process.
    pub(crate) fn ours() -> Self {
        Self { other: None }
    }

    /// An account that PostgreSQL and PgBouncer accept.
    pub(crate) fn for_server() -> Result<Self, String> {
        if !Uid::effective().is_root() {
            return Ok(Self::ours());
        }
        // A user id alone is not enough, because `initdb` looks up its name.
        let other = ["postgres", "nobody"]
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten());
        match other {
            Some(user) => Ok(Self { other: Some(user) }),
            None => Err("running as root, and there is no account `postgres` or `nobody` to run a server under".into()),
        }
    }

    /// True if commands run under another account than this process.
    pub(crate) fn is_other(&self) -> bool {
        self.other.is_some()
    }

    /// A command that runs under this account, in a folder that the account can read. The
    /// environment has none of libpq's variables, such as `PGPORT`.
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
