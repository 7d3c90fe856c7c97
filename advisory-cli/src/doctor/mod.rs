//! `advisory doctor`: is this connection fit for advisory locks?

mod check;
mod locking;
mod place;
mod report;
mod role;
mod room;
mod setting;
mod tcp;
mod timeout;

use std::process::ExitCode;

use clap::Args;
use sqlx::postgres::{PgConnection, PgPool};

use self::check::{Check, Status};
use crate::exit::{Code, Failure};
use crate::server::Server;
use crate::{output, sql};

/// Looks, and disturbs nobody: the locks that it takes are on keys of chance.
#[derive(Args)]
pub(crate) struct Doctor {
    /// Print an array of `{check, status, found, advice}`; `status` is `pass`, `warn` or `fail`.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(crate) async fn run(&self, server: &Server) -> Result<ExitCode, Failure> {
        let pool = server.connect(1).await?;
        let checks = examine(&pool).await?;
        if self.json {
            output::json(&checks)?;
        } else {
            report::print(&checks)?;
        }
        let fails = checks.iter().any(|check| check.status == Status::Fail);
        Ok(if fails {
            Code::Failure.into()
        } else {
            ExitCode::SUCCESS
        })
    }
}

/// Every check, in the order in which they are shown: what decides, then what gets in the way, then what helps to see.
async fn examine(pool: &PgPool) -> Result<Vec<Check>, Failure> {
    let mut conn = pool.acquire().await?;
    let mut checks = place::check(&mut conn).await;
    let pooler = place::lends_sessions(pool, &mut conn).await;
    let settings = look_at_settings(&mut conn).await;
    let room = room::check(&mut conn).await;
    let role = role::check(&mut conn).await;
    drop(conn);
    let locking = locking::look(pool).await;
    checks.push(place::pooler(pooler, &locking));
    checks.extend(locking.checks());
    checks.push(room);
    checks.extend(settings);
    checks.extend(role);
    Ok(checks)
}

async fn look_at_settings(conn: &mut PgConnection) -> Vec<Check> {
    let asked = async {
        let identity = sql::identity(conn).await?;
        Ok::<_, sqlx::Error>((identity, sql::settings(conn).await?))
    };
    match asked.await {
        Ok((identity, settings)) => {
            let mut checks = timeout::check(&settings, &identity);
            checks.push(tcp::check(&settings, &identity));
            checks.extend(setting::check(&settings, &identity));
            checks
        }
        Err(error) => vec![Check::unknown("settings", error)],
    }
}
