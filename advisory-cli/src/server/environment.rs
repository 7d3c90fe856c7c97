//! The environment: libpq's variables, and the files in the user's home.

use std::collections::HashMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use nix::unistd::{Uid, User};

use crate::exit::Failure;

pub(super) struct Environment {
    variables: HashMap<OsString, OsString>,
    account: Option<User>,
}

impl Environment {
    pub(super) fn read() -> Self {
        Self {
            variables: env::vars_os().collect(),
            account: User::from_uid(Uid::effective()).ok().flatten(),
        }
    }

    /// The value of a variable, if it is set.
    pub(super) fn get(&self, name: &str) -> Result<Option<String>, Failure> {
        let value = self.variables.get(OsStr::new(name)).cloned();
        let value = value.map(OsString::into_string).transpose();
        value.map_err(|_| Failure::usage(format!("`{name}` is not text in UTF-8; set it again")))
    }

    /// A variable that is not empty.
    fn non_empty(&self, name: &str) -> Option<OsString> {
        let value = self.variables.get(OsStr::new(name)).cloned();
        value.filter(|value| !value.is_empty())
    }

    /// The name of the account that runs the command.
    pub(super) fn user(&self) -> Option<String> {
        let name = self.account.as_ref().map(|account| account.name.clone());
        name.or_else(|| self.non_empty("USER")?.into_string().ok())
    }

    /// A file in the home of the account: in `HOME`, as libpq has it, or else in that of the
    /// system's list of accounts.
    pub(super) fn in_home(&self, file: &str) -> Option<PathBuf> {
        let home = self.non_empty("HOME").map(PathBuf::from);
        let home = home.or_else(|| self.account.as_ref().map(|account| account.dir.clone()));
        home.map(|home| home.join(file))
    }

    /// As [`in_home`](Self::in_home), if the file exists.
    pub(super) fn existing_in_home(&self, file: &str) -> Option<PathBuf> {
        self.in_home(file).filter(|file| file.exists())
    }
}
