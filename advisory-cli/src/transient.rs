//! Errors of a connection that pass by themselves, and those that do not.

use advisory_core::__private::is_lasting;

/// The first characters of the SQLSTATEs of a session that an administrator, a restart or a crash
/// has ended, and of a server that starts, stops or recovers.
pub(crate) const SHUTDOWN: &str = "57P";

/// The SQLSTATE of a server that has no connection left.
const TOO_MANY_CONNECTIONS: &str = "53300";

/// The first characters of the SQLSTATEs of a connection that fails, which are also PgBouncer's.
const CONNECTION_FAILURE: &str = "08";

/// How sqlx's error begins if the server has neither accepted nor refused TLS: a proxy without a
/// server has closed the connection, or PostgreSQL cannot fork.
const NO_TLS_ANSWER: [&str; 2] = [
    "unexpected response from SSLRequest: 0x00",
    "unexpected response from SSLRequest: 0x45",
];

/// Whether the server may accept a connection soon: it starts, has no free connection, or is away.
pub(crate) fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        error if is_lasting(error) => false,
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Protocol(message) => {
            NO_TLS_ANSWER.iter().any(|text| message.starts_with(text))
        }
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code == TOO_MANY_CONNECTIONS
                || code.starts_with(SHUTDOWN)
                || code.starts_with(CONNECTION_FAILURE)
        }),
        _ => false,
    }
}

/// Whether a server has refused a new connection, and is expected to refuse the next one.
pub(crate) fn is_refusal(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some() && !is_transient(error)
}
