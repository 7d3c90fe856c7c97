//! Exit codes and failures.

use std::fmt::Display;
use std::io::{Write as _, stderr};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};

use sqlx::postgres::PgDatabaseError;

use crate::transient::{SHUTDOWN, is_transient};

/// The list of exit codes at the end of the help.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
    0  success; `run` ends with the exit code of its command
    1  something failed (`run`, `lead`, `hold`: 70); `doctor` has found a fault
    2  the command line is wrong (`run`, `lead`, `hold`: 64)
   64  `run`, `lead`, `hold`: the command line is wrong
   69  the server cannot be reached, or has ended the session
   70  `run`, `lead`, `hold`: something else failed, such as a wait that was cancelled
   75  `run`, `hold`: the lock was not acquired; `-E` sets another code
   76  `run`, `hold`: the lock was lost while it was held
   77  the server does not let this role do that
  126  `run`: the command cannot be executed
  127  `run`: the command is not found
  128+n  `run`, `lead`, `hold`: signal n ended the command, or the wait for its lock
With each failure of its own, `advisory` prints a line that begins with `advisory: ` or `error: ` on
standard error. `run` prints none if the code is that of its command.";

/// Exit codes, after `sysexits.h` and the shell. `run` and `hold` do not end with 1 and 2, which
/// are those of most commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// Something failed.
    Failure = 1,
    /// The command line is wrong, in a way that the parser does not see.
    Usage = 2,
    /// `EX_USAGE`: [`Usage`](Self::Usage) of `run` and `hold`.
    UsageOfRun = 64,
    /// `EX_UNAVAILABLE`: the server cannot be reached.
    Unreachable = 69,
    /// `EX_SOFTWARE`: [`Failure`](Self::Failure) of `run` and `hold`.
    FailureOfRun = 70,
    /// `EX_TEMPFAIL`: another session holds the lock.
    NotAcquired = 75,
    /// The lock was lost.
    Lost = 76,
    /// `EX_NOPERM`: the role lacks a privilege.
    Forbidden = 77,
    /// The shell's code for a program that is found and not executable.
    NotExecutable = 126,
    /// The shell's code for a program that is not found.
    NotFound = 127,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// The exit code of a process that a signal has ended, as the shell reports it.
pub(crate) fn signal_code(signal: i32) -> ExitCode {
    ExitCode::from(u8::try_from(signal).unwrap_or_default().saturating_add(128))
}

/// The exit code of a process, as the shell reports it.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => code.into(),
        None => signal_code(status.signal().unwrap_or_default()),
    }
}

/// An exit code other than 0, and a line for standard error that explains it.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    /// If empty, nothing is printed.
    message: String,
    /// Whether it can be over soon: the server starts, is away, or is to be promoted.
    is_transient: bool,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Display) -> Self {
        Self {
            code,
            message: message.to_string(),
            is_transient: false,
        }
    }

    /// A server that cannot be connected to, with a message that contains the error.
    pub(crate) fn unreachable(error: &sqlx::Error, message: impl Display) -> Self {
        Self {
            is_transient: is_transient(error),
            ..Self::new(Code::Unreachable, message)
        }
    }

    /// The failure as one that can be over soon.
    pub(crate) fn transient(self) -> Self {
        Self {
            is_transient: true,
            ..self
        }
    }

    /// The failure with the exit code that `run` and `hold` have for it.
    pub(crate) fn of_run(self) -> Self {
        let code = match self.code {
            Code::Failure => Code::FailureOfRun,
            Code::Usage => Code::UsageOfRun,
            code => code,
        };
        Self { code, ..self }
    }

    /// A failure that has no exit code of its own.
    pub(crate) fn other(message: impl Display) -> Self {
        Self::new(Code::Failure, message)
    }

    /// A mistake on the command line.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::new(Code::Usage, message)
    }

    /// A failure that prints nothing, because the reader of the output has closed it.
    pub(crate) fn silent() -> Self {
        Self::other("")
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// Whether the server may accept a connection soon: it starts, has no free connection, is away,
    /// or is to be promoted.
    pub(crate) fn is_transient(&self) -> bool {
        self.is_transient
    }

    /// Whether the connection to the server was lost, or cannot be opened.
    pub(crate) fn is_connection_lost(&self) -> bool {
        self.code == Code::Unreachable
    }

    /// Prints the message on one line of standard error.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            let words: Vec<_> = self.message.split_whitespace().collect();
            print_message(words.join(" "));
        }
        self.code.into()
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Prints a line on standard error. An error is ignored: it must not change the exit code.
pub(crate) fn print_message(line: impl Display) {
    let _ = writeln!(stderr(), "advisory: {line}");
}

/// The SQLSTATE of a statement that the role lacks the privilege for.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

impl From<advisory_core::Error> for Failure {
    fn from(error: advisory_core::Error) -> Self {
        let code = match &error {
            advisory_core::Error::NotAcquired { .. } => Code::NotAcquired,
            advisory_core::Error::Lost { .. } => Code::Lost,
            advisory_core::Error::Database(error) => database_code(error),
            _ => Code::Failure,
        };
        Self::new(code, describe_lock_error(&error))
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self {
            is_transient: is_transient(&error),
            ..Self::new(database_code(&error), describe(&error))
        }
    }
}

/// The text of an error, without the line of the server's source code that sqlx adds to it.
pub(crate) fn describe(error: &sqlx::Error) -> String {
    let text = error.to_string();
    let database = error.as_database_error();
    let line = database
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
        .and_then(PgDatabaseError::line);
    let shortened = line.and_then(|line| text.strip_suffix(&format!(" at line {line}")));
    shortened.map_or(text.clone(), str::to_owned)
}

/// As [`describe`], for an error of the library.
pub(crate) fn describe_lock_error(error: &advisory_core::Error) -> String {
    match error {
        advisory_core::Error::Database(error) => describe(error),
        error => error.to_string(),
    }
}

fn database_code(error: &sqlx::Error) -> Code {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut => Code::Unreachable,
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some(INSUFFICIENT_PRIVILEGE) => Code::Forbidden,
            Some(code) if code.starts_with(SHUTDOWN) => Code::Unreachable,
            _ => Code::Failure,
        },
        // A proxy that has lost its server.
        error if is_transient(error) => Code::Unreachable,
        _ => Code::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_that_has_lost_its_server_cannot_be_reached() {
        for (answer, code) in [
            ("0x00", Code::Unreachable),
            ("0x45", Code::Unreachable),
            ("0x48", Code::Failure),
        ] {
            let message = format!("unexpected response from SSLRequest: {answer}");
            let error = sqlx::Error::Protocol(message);
            assert_eq!(Failure::from(error).code(), code, "{answer}");
        }
    }
}
