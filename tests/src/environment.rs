//! The environment variables that configure the harness.

use std::env;
use std::ffi::OsString;

use crate::error::StartError;

/// The server to use instead of a private one. The variable is never `DATABASE_URL`, because tests
/// create databases and terminate backends.
const DATABASE_URL: &str = "ADVISORY_DATABASE_URL";

/// The URL in `ADVISORY_DATABASE_URL`; `None` if the variable is not set or empty.
pub(crate) fn database_url() -> Option<String> {
    env::var(DATABASE_URL).ok().filter(|url| !url.is_empty())
}

/// The value of a variable; `None` if the variable is not set or empty.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The parsed value of a variable; `None` if the variable is not set or empty.
///
/// # Errors
///
/// If `parse` returns `None`. `expected` says in the error which values are allowed.
pub(crate) fn setting<T>(
    variable: &'static str,
    expected: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, StartError> {
    let value = env::var(variable).unwrap_or_default();
    if value.is_empty() {
        return Ok(None);
    }
    parse(&value).map(Some).ok_or(StartError::Setting {
        variable,
        value,
        expected,
    })
}
