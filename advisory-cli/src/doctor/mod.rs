//! `advisory doctor`: whether advisory locks work on a connection.

mod check;
mod lock_table;
mod locking;
mod pooler;
mod role;
mod server;
mod setting;
mod timeout;

use std::process::ExitCode;

use clap::Args;
use sqlx::postgres::PgPool;

use self::check::{Check, Status};
use crate::exit::{Code, Failure};
use crate::server::Server;
use crate::{output, sql};

#[derive(Args)]
pub(crate) struct Doctor {
    /// Print an array of `{check, status, found, advice}`; `status` is `pass`, `warn` or `fail`.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(crate) async fn run(self, server: &Server) -> Result<ExitCode, Failure> {
        let pool = server.connect(1).await?;
        let checks = examine(&pool).await?;
        if self.json {
            output::print_json(&checks)?;
        } else {
            check::print(&checks)?;
        }
        let fails = checks.iter().any(|check| check.status == Status::Fail);
        Ok(if fails {
            Code::Failure.into()
        } else {
            ExitCode::SUCCESS
        })
    }
}

/// Whether a connection pooler is between this program and the server, as far as that can be seen.
pub(crate) async fn has_pooler(pool: &PgPool) -> bool {
    let Ok(mut conn) = pool.acquire().await else {
        return false;
    };
    pooler::detect(pool, &mut conn).await.unwrap_or(false)
}

/// Runs every check, and returns them in the order in which they are printed. The locks that they
/// take are on random keys, so that no other session is affected.
async fn examine(pool: &PgPool) -> Result<Vec<Check>, Failure> {
    let mut conn = pool.acquire().await?;
    let identity = sql::identity(&mut conn).await;
    let has_pooler = pooler::detect(pool, &mut conn).await;
    let settings = sql::settings(&mut conn).await;
    let lock_table = lock_table::check(&mut conn).await;
    let rights = sql::rights(&mut conn).await;
    // The pool has one connection, which `locking` needs.
    drop(conn);
    let locking = locking::examine(pool).await;

    let mut checks = match &identity {
        Ok(identity) => server::checks(identity).into(),
        Err(error) => vec![Check::unknown("server version", error)],
    };
    checks.push(pooler::check(has_pooler, &locking));
    checks.extend(locking.checks());
    checks.push(lock_table);
    match (&identity, &settings) {
        (Ok(identity), Ok(settings)) => {
            checks.extend(timeout::checks(settings, identity));
            checks.extend(setting::checks(settings, identity));
        }
        (Err(error), _) | (_, Err(error)) => checks.push(Check::unknown("settings", error)),
    }
    match (&identity, &rights) {
        (Ok(identity), Ok(rights)) => checks.extend(role::checks(rights, &identity.role)),
        (Err(error), _) | (_, Err(error)) => checks.push(Check::unknown("role", error)),
    }
    Ok(checks)
}
