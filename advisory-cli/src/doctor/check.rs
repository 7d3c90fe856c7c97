//! What was looked at, what was found, and what to do.

use std::fmt::Display;

use serde::Serialize;

/// How a check has come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Pass,
    Warn,
    Fail,
}

/// One line of the doctor's, and one object of its JSON.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    #[serde(rename = "check")]
    pub(super) name: &'static str,
    pub(super) status: Status,
    pub(super) found: String,
    /// What to do, unless it passes.
    pub(super) advice: Option<String>,
}

impl Check {
    pub(super) fn pass(name: &'static str, found: impl Display) -> Self {
        Self {
            name,
            status: Status::Pass,
            found: found.to_string(),
            advice: None,
        }
    }

    pub(super) fn warn(name: &'static str, found: impl Display, advice: impl Display) -> Self {
        Self {
            status: Status::Warn,
            advice: Some(advice.to_string()),
            ..Self::pass(name, found)
        }
    }

    pub(super) fn fail(name: &'static str, found: impl Display, advice: impl Display) -> Self {
        Self {
            status: Status::Fail,
            ..Self::warn(name, found, advice)
        }
    }

    /// The question itself went wrong, which says nothing about locks.
    pub(super) fn unknown(name: &'static str, error: impl Display) -> Self {
        let found = format!("cannot tell: {error}");
        Self::warn(name, found, "is this PostgreSQL, 14 or later?")
    }
}
