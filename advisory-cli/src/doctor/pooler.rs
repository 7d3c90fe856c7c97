//! Whether a connection pooler is between this program and the server.

use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{ConnectOptions as _, Connection as _};

use super::check::Check;
use super::locking::Locking;
use crate::exit::describe;
use crate::sql;

/// Detects a pooler by a session that is older than its connection.
pub(super) async fn detect(pool: &PgPool, conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let mut before = sql::now(conn).await?;
    // The second connection may get the session that the first one has given back.
    for _ in 0..2 {
        let mut new = pool.connect_options().as_ref().clone().connect().await?;
        if sql::session_start(&mut new).await? < before {
            return Ok(true);
        }
        before = sql::now(&mut new).await?;
        new.close().await?;
    }
    Ok(false)
}

/// A pooler is a warning only if its connections are not sessions.
pub(super) fn check(has_pooler: Result<bool, sqlx::Error>, locking: &Locking) -> Check {
    let name = "pooler";
    match has_pooler {
        Err(error) => Check::warn(
            name,
            format!("cannot tell: {}", describe(&error)),
            "allow this role another connection",
        ),
        Ok(_) if locking.has_no_sessions() => Check::warn(
            name,
            "connections are lent a session for a transaction at a time",
            "let the pooler have more server connections than there are session locks at once, or \
             connect past the pooler for session locks",
        ),
        Ok(true) => Check::pass(
            name,
            "there is one; what matters is whether locks work behind it",
        ),
        Ok(false) => Check::pass(name, "none to be seen"),
    }
}
