//! Which binaries to run: the machine's own, or prebuilt ones.

use std::env;

use crate::account::Account;
use crate::binary::{self, Binaries};
use crate::error::StartError;
use crate::external::External;
use crate::fetch;

/// The choice that the environment leaves.
struct Choice {
    major: Option<u32>,
    is_machine_excluded: bool,
}

impl Choice {
    fn from_env() -> Result<Self, StartError> {
        // sqlx hands it to the server with every connection, and offers no way to leave it out.
        setting(
            "PGOPTIONS",
            "nothing, since it would change every session of the tests,",
            |_| None::<()>,
        )?;
        let major = setting(
            "ADVISORY_POSTGRES_VERSION",
            "a major version from `14` to `18`",
            |value| value.parse().ok().filter(|major| (14..=18).contains(major)),
        )?;
        let fetch = setting("ADVISORY_POSTGRES", "`fetch`", |value| {
            (value == "fetch").then_some(())
        })?;
        Ok(Self {
            major,
            is_machine_excluded: fetch.is_some(),
        })
    }
}

/// The binaries to run under `account`.
pub(crate) fn choose(account: &Account) -> Result<Binaries, StartError> {
    let choice = Choice::from_env()?;
    let mut tried = Vec::new();
    if !External::is_named() {
        tried.push("`ADVISORY_DATABASE_URL`: not set".to_owned());
    }
    if choice.is_machine_excluded {
        tried.push("the machine's own: excluded by `ADVISORY_POSTGRES`".to_owned());
    } else if let Some(binaries) = binary::on_machine(account, choice.major, &mut tried) {
        return Ok(binaries);
    }
    fetch::prebuilt(account, choice.major).map_err(|reason| {
        tried.push(reason);
        StartError::NoServer { tried }
    })
}

/// The meaning of a variable; `None` if it is not set or empty.
fn setting<T>(
    variable: &'static str,
    expected: &'static str,
    meaning: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, StartError> {
    let value = env::var(variable).unwrap_or_default();
    if value.is_empty() {
        return Ok(None);
    }
    meaning(&value).map(Some).ok_or(StartError::Setting {
        variable,
        value,
        expected,
    })
}
