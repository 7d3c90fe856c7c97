//! `advisory explain`: why a lock is not free, and what ends that.

mod cause;
mod report;

use std::process::ExitCode;

use advisory_core::Key;
use advisory_core::monitor::{self, LockStatus};
use clap::Args;
use sqlx::postgres::PgPool;

use self::cause::Cause;
use self::report::{Holder, Report, Waiter};
use crate::exit::Failure;
use crate::names::Names;
use crate::output;
use crate::server::Server;
use crate::slot::Slot;
use crate::target::Target;
use crate::{doctor, sql};

/// At most so many holders are examined.
const MAX_HOLDERS: usize = 5;

/// Explain why a lock is not free: who holds it, what that session does, and what ends it.
///
/// For each session that holds the lock: since when, in which state it is, what it last ran, whom
/// it waits for itself, and the command that frees the lock. PostgreSQL does not record when a lock
/// is granted, so the time is the age of the transaction. Of a lock with several permits, the
/// holders of all its slots are listed, and those who queue for one.
#[derive(Args)]
#[command(
    override_usage = "advisory explain [OPTIONS] <NAME>",
    after_help = "\
Examples:
  advisory explain sync
  advisory explain --key 42"
)]
pub(crate) struct Explain {
    #[command(flatten)]
    target: Target,
    /// Print an object of `key`, `name`, `database`, `holders` and `waiters`. Every holder is
    /// listed; `cause`, `why` and `to_end` are null for all but the first 5.
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(crate) async fn run(self, server: &Server) -> Result<ExitCode, Failure> {
        let mut wanted = self.target.read()?;
        let pool = server.connect(1).await?;
        let locks = monitor::locks(&pool).await?;
        let lock = wanted.lock_among(&locks, &pool).await?;
        // A command line names one lock.
        let Some(&key) = lock.keys().first() else {
            return Err(Failure::usage("expected the name or the key of a lock"));
        };
        let mut report = look(&pool, key).await?;
        report.name = lock.name().map(str::to_owned).or(report.name);
        if self.json {
            output::print_json(&report)?;
        } else {
            let hint = wanted.hint().filter(|_| report.is_free());
            output::print_line(report.text(hint).trim_end())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn look(pool: &PgPool, key: Key) -> Result<Report, Failure> {
    // Behind a pooler, a transaction is on one session.
    let mut tx = pool.begin().await?;
    let (own_pid, database) = sql::own_session(&mut tx).await?;
    let all = monitor::locks_of_all_databases(&mut *tx).await?;
    tx.rollback().await?;
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|lock| lock.database == database);
    let names = Names::default().of_locks(&here);
    let name = here.iter().zip(names).find(|(lock, _)| lock.key == key);
    let slots = here.iter().filter_map(|lock| Slot::of(lock, key));
    let (held, mut waiting): (Vec<_>, Vec<_>) = slots.partition(Slot::is_held);
    // The first in the queue for a permit has waited longest.
    waiting.sort_by_key(|slot| !slot.lock.granted);
    let has_permits = held.iter().chain(&waiting).any(|slot| slot.number != 1);
    let number = |slot: &Slot<'_>| has_permits.then_some(slot.number);
    let mut holders = Vec::new();
    for (index, slot) in held.iter().enumerate() {
        let lock = slot.lock;
        let cause = if index >= MAX_HOLDERS {
            None
        } else if lock.pid == own_pid {
            Some(Cause::Leftover)
        } else {
            Some(cause(pool, lock, &here).await?)
        };
        holders.push(Holder::new(lock, number(slot), cause));
    }
    Ok(Report {
        key,
        name: name.and_then(|(_, name)| name).map(|name| name.text),
        database,
        holders,
        waiters: waiting
            .iter()
            .map(|slot| Waiter::new(slot.lock, number(slot)))
            .collect(),
        elsewhere: elsewhere
            .into_iter()
            .filter(|lock| lock.key == key)
            .collect(),
    })
}

/// Why a session does not release the lock.
async fn cause(pool: &PgPool, lock: &LockStatus, all: &[LockStatus]) -> Result<Cause, Failure> {
    if let Some(cause) = Cause::of_locks(lock, all) {
        return Ok(cause);
    }
    if lock
        .wait_event
        .as_deref()
        .is_some_and(|event| event.starts_with("Lock: "))
    {
        let blockers = sql::blockers(&mut *pool.acquire().await?, lock.pid).await?;
        return Ok(Cause::waits_for_other_lock(lock, blockers));
    }
    let is_pooled = lock.state.as_deref() == Some("idle")
        && (cause::looks_pooled(lock) || doctor::has_pooler(pool).await);
    Ok(Cause::of_state(lock, is_pooled))
}
