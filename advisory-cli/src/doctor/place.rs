//! Which server this is, and what is before it.

use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{ConnectOptions as _, Connection as _};

use super::check::Check;
use super::locking::Locking;
use crate::sql::{self, Identity};

/// The major versions on which the library is tested.
const OLDEST: i32 = 14;
const NEWEST: i32 = 18;

pub(super) async fn check(conn: &mut PgConnection) -> Vec<Check> {
    match sql::identity(conn).await {
        Ok(identity) => vec![version(&identity), primary(&identity)],
        Err(error) => vec![Check::unknown("server version", error)],
    }
}

fn version(identity: &Identity) -> Check {
    let name = "server version";
    let found = format!("PostgreSQL {}", identity.version);
    match identity.version_number / 10_000 {
        ..OLDEST => Check::fail(
            name,
            format!("{found}, which is older than {OLDEST}"),
            format!("upgrade to PostgreSQL {OLDEST} or later"),
        ),
        OLDEST..=NEWEST => Check::pass(name, found),
        _ => Check::warn(
            name,
            format!("{found}, which is newer than this program was tested with"),
            format!(
                "it should work; look for a version of this program that knows more than {NEWEST}"
            ),
        ),
    }
}

fn primary(identity: &Identity) -> Check {
    if identity.is_standby {
        let found = "a standby, whose locks bind nobody on the primary or on other standbys";
        let advice = "connect to the primary (a writer endpoint)";
        return Check::fail("primary", found, advice);
    }
    Check::pass("primary", "not a standby")
}

/// Whether somebody before the server lends its sessions out, as far as can be seen: a session that is older than its connection.
pub(super) async fn lends_sessions(
    pool: &PgPool,
    conn: &mut PgConnection,
) -> Result<bool, sqlx::Error> {
    let mut before = sql::now(conn).await?;
    // The second may be lent what the first has given back.
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

/// What a pooler means is decided by whether it leaves a session to its client.
pub(super) fn pooler(lends: Result<bool, sqlx::Error>, locking: &Locking) -> Check {
    let name = "pooler";
    match lends {
        _ if locking.no_session() => Check::warn(
            name,
            "connections are lent a session for a transaction at a time",
            "take transaction locks here, and connect past the pooler for session locks",
        ),
        Ok(true) => Check::pass(
            name,
            "there is one; what matters is whether locks work behind it",
        ),
        Ok(false) => Check::pass(name, "none to be seen"),
        Err(error) => Check::warn(
            name,
            format!("cannot tell: {error}"),
            "allow this role another connection",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::*;

    fn of(text: &str, number: i32) -> Check {
        version(&Identity {
            version: text.to_owned(),
            version_number: number,
            is_standby: false,
            role: "app".to_owned(),
            database: "app".to_owned(),
            is_local: true,
        })
    }

    #[test]
    fn versions_are_supported_from_14_to_18() {
        let status = |number| of("", number).status;
        assert_eq!(status(130_022), Status::Fail);
        assert_eq!(status(140_000), Status::Pass);
        assert_eq!(status(180_004), Status::Pass);
        assert_eq!(status(190_000), Status::Warn);
    }

    #[test]
    fn an_old_version_is_named_and_the_oldest_that_will_do() {
        let check = of("13.22", 130_022);
        assert_eq!(check.found, "PostgreSQL 13.22, which is older than 14");
        assert_eq!(check.advice.unwrap(), "upgrade to PostgreSQL 14 or later");
    }
}
