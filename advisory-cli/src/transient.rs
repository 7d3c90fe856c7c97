//! Errors of a connection that pass by themselves, and those that do not.

use std::io::ErrorKind;

/// The first characters of the SQLSTATEs of a session that an administrator, a restart or a crash
/// has ended, and of a server that starts, stops or recovers.
pub(crate) const SHUTDOWN: &str = "57P";

/// The SQLSTATE of a server that has no connection left.
const TOO_MANY_CONNECTIONS: &str = "53300";

/// The first characters of the SQLSTATEs of a connection that fails: PgBouncer answers with 08P01
/// while its server is away, while it has no connection left, and for most other reasons.
const CONNECTION_FAILURE: &str = "08";

/// Parts of messages of this class whose errors are lasting. The last five are the server's own,
/// which PgBouncer passes on, not always with their SQLSTATE.
const LASTING: [&str; 11] = [
    "no such database",
    "no such user",
    "unsupported startup parameter",
    "bouncer config error",
    "login rejected",
    " required",
    "authentication failed",
    "does not exist",
    "pg_hba.conf",
    "is not permitted to log in",
    "permission denied",
];

/// How sqlx's error begins if the server has neither accepted nor refused TLS: a proxy without a
/// server has closed the connection, or PostgreSQL cannot fork.
const NO_TLS_ANSWER: [&str; 2] = [
    "unexpected response from SSLRequest: 0x00",
    "unexpected response from SSLRequest: 0x45",
];

/// Whether the server may accept a connection soon: it starts, has no free connection, or is away.
pub(crate) fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        // What rustls refuses: a certificate, an alert, an answer that is no TLS.
        sqlx::Error::Io(error) if error.kind() == ErrorKind::InvalidData => false,
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Protocol(message) => {
            NO_TLS_ANSWER.iter().any(|text| message.starts_with(text))
        }
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code == TOO_MANY_CONNECTIONS
                || code.starts_with(SHUTDOWN)
                || code.starts_with(CONNECTION_FAILURE) && !is_lasting(error.message())
        }),
        _ => false,
    }
}

/// Whether a server has refused a new connection, and is expected to refuse the next one.
pub(crate) fn is_refusal(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some() && !is_transient(error)
}

fn is_lasting(message: &str) -> bool {
    LASTING.iter().any(|text| message.contains(text))
}
