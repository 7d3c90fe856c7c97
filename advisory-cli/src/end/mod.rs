//! `advisory cancel` and `advisory terminate`: end what stands in the way.

mod consent;
mod effect;
mod holding;
mod how;
mod search;
mod victim;

use std::process::ExitCode;

use clap::{ArgGroup, Args, value_parser};
use sqlx::postgres::PgPool;

use advisory_core::scheme::System;

pub(crate) use self::how::How;
use self::victim::Victim;
use crate::exit::{Code, Failure};
use crate::scheme;
use crate::server::Server;

/// Which sessions: by their process ids, or by a lock.
#[derive(Args)]
#[command(group(ArgGroup::new("which").required(true).args(["pids", "name"])))]
pub(crate) struct Sessions {
    /// Process ids, as `advisory ls` shows them, of any database of the server. Each must hold or wait for an advisory lock.
    #[arg(value_name = "PID", value_parser = value_parser!(i32).range(0..), conflicts_with_all = ["name", "key_scheme", "key", "waiters", "holders"])]
    pids: Vec<i32>,
    /// Those who wait for the lock of this name (`cancel`), or who hold it (`terminate`).
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How the name becomes a key: that of the system whose lock it is, such as `django-pglock`.
    #[arg(long, value_name = "SCHEME", value_parser = scheme::parse, default_value = "Sha1", conflicts_with = "key")]
    key_scheme: &'static System,
    /// The name is the key itself: `42`, `-42`, `0x1f` or `1,7`.
    #[arg(long, short, requires = "name")]
    key: bool,
    #[command(flatten)]
    sides: Sides,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

/// Which of those who have to do with a lock.
#[derive(Args)]
struct Sides {
    /// With `--name`: those who wait for the lock. If neither side is given, `cancel` means these.
    #[arg(long, requires = "name")]
    waiters: bool,
    /// With `--name`: those who hold the lock. If neither side is given, `terminate` means these.
    #[arg(long, requires = "name")]
    holders: bool,
}

impl Sessions {
    pub(crate) async fn run(self, server: &Server, how: How) -> Result<ExitCode, Failure> {
        let pool = server.connect(1).await?;
        let mut tally = Tally(ExitCode::SUCCESS);
        let mut victims = Vec::new();
        for found in search::search(&pool, &self, how).await? {
            match found.and_then(|victim| how.check(victim)) {
                Ok(victim) => victims.push(victim),
                Err(failure) => tally.add(&failure),
            }
        }
        // Who waits for a lock would have it, and have moved on, if its holder were ended first.
        victims.sort_by_key(|victim| !victim.waits());
        if !victims.is_empty() {
            victim::show(&victims)?;
            consent::ask(how, victims.len(), self.yes)?;
            for victim in &victims {
                if let Err(failure) = end(&pool, how, victim).await {
                    tally.add(&failure);
                }
            }
        }
        Ok(tally.0)
    }
}

/// What was shown may be over by the time it is agreed to.
async fn end(pool: &PgPool, how: How, victim: &Victim) -> Result<(), Failure> {
    let is_told = victim.is_unchanged(pool, how).await? && how.tell(pool, victim).await?;
    if is_told {
        return effect::wait(pool, how, victim).await;
    }
    let pid = victim.pid;
    Err(Failure::new(
        Code::Failure,
        format!("pid {pid} has moved on; nothing was sent to it"),
    ))
}

/// Each failure is told when it is met; the first one is how the command ends.
struct Tally(ExitCode);

impl Tally {
    fn add(&mut self, failure: &Failure) {
        let code = failure.report();
        if self.0 == ExitCode::SUCCESS {
            self.0 = code;
        }
    }
}
