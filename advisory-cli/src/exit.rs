//! How the command ends.

use std::fmt::Display;
use std::io::{Write as _, stderr};
use std::process::ExitCode;

/// Ends the help of the command.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
    0  done; with `run`, whatever the command's own code is
    1  something failed; `doctor` has found a fault
    2  the command line is wrong
   69  the server cannot be reached, or has ended the session
   75  the lock was not acquired (`run`, `hold`); 0 with `--skip`
   76  the lock was lost while it was held (`run`, `hold`)
   77  the server does not let this role do that
  126  the command cannot be executed (`run`)
  127  the command is not found (`run`)
  128+n  the command, or the wait for its lock, was ended by signal n (`run`, `hold`)";

/// Exit codes, after `sysexits.h` and the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// Something failed.
    Failure = 1,
    /// The command line is wrong, in a way that only shows later.
    Usage = 2,
    /// `EX_UNAVAILABLE`: the server cannot be reached.
    Unreachable = 69,
    /// `EX_TEMPFAIL`: somebody else holds the lock.
    NotAcquired = 75,
    /// The lock was lost.
    Lost = 76,
    /// `EX_NOPERM`: the role may not.
    Forbidden = 77,
    /// The shell's: found, and not executable.
    NotExecutable = 126,
    /// The shell's: not found.
    NotFound = 127,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why the command ends otherwise than it should, in one line.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    /// Empty where there is nobody left to tell.
    message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Display) -> Self {
        let message = message.to_string();
        Self { code, message }
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// The reader of our output has gone: nothing is wrong, and nothing is left to do.
    pub(crate) fn silent() -> Self {
        Self::new(Code::Failure, "")
    }

    /// Says it on standard error.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            let line = self.message.split_whitespace().collect::<Vec<_>>();
            note(line.join(" "));
        }
        self.code.into()
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Says something on standard error. Nobody may be there to read it, which is no reason to stop.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(stderr(), "advisory: {line}");
}

/// As the shell tells of a death by a signal.
pub(crate) fn death(signal: i32) -> ExitCode {
    ExitCode::from(u8::try_from(signal).unwrap_or_default().saturating_add(128))
}

/// SQLSTATE of what a role may not do.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// How the SQLSTATEs begin of a session that was ended: by an administrator, a restart, a crash.
const SHUTDOWN: &str = "57P";

impl From<advisory_core::Error> for Failure {
    fn from(error: advisory_core::Error) -> Self {
        let code = match &error {
            advisory_core::Error::NotAcquired { .. } => Code::NotAcquired,
            advisory_core::Error::Lost { .. } => Code::Lost,
            advisory_core::Error::Database(error) => code_of(error),
            _ => Code::Failure,
        };
        Self::new(code, error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::new(code_of(&error), error)
    }
}

fn code_of(error: &sqlx::Error) -> Code {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut => Code::Unreachable,
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some(INSUFFICIENT_PRIVILEGE) => Code::Forbidden,
            Some(code) if code.starts_with(SHUTDOWN) => Code::Unreachable,
            _ => Code::Failure,
        },
        _ => Code::Failure,
    }
}
