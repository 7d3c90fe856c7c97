//! What the role may see and do.

use sqlx::postgres::PgConnection;

use super::check::Check;
use crate::sql::{self, Rights};

pub(super) async fn check(conn: &mut PgConnection) -> Vec<Check> {
    let asked = async {
        let rights = sql::rights(conn).await?;
        Ok::<_, sqlx::Error>((rights, sql::identity(conn).await?.role))
    };
    match asked.await {
        Ok((rights, role)) => vec![sees(&rights, &role), signals(&rights, &role)],
        Err(error) => vec![Check::unknown("role", error)],
    }
}

fn sees(rights: &Rights, role: &str) -> Check {
    let name = "pg_read_all_stats";
    if rights.sees_others {
        return Check::pass(
            name,
            format!("{} sees the queries of every session", who(rights, role)),
        );
    }
    Check::warn(
        name,
        format!("{role} sees who holds and who waits, and the queries of its own sessions only"),
        format!(
            "`GRANT pg_read_all_stats TO {role}`, or pg_monitor, to a role that looks after locks"
        ),
    )
}

fn signals(rights: &Rights, role: &str) -> Check {
    let name = "pg_signal_backend";
    if rights.signals_others {
        return Check::pass(
            name,
            format!(
                "{} may cancel and terminate others' sessions",
                who(rights, role)
            ),
        );
    }
    Check::warn(
        name,
        format!("{role} may cancel and terminate its own sessions only"),
        format!("`GRANT pg_signal_backend TO {role}`, to a role that looks after locks"),
    )
}

fn who(rights: &Rights, role: &str) -> String {
    if rights.is_superuser {
        return format!("{role}, a superuser,");
    }
    role.to_owned()
}
