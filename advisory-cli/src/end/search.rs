//! Who is meant.

use std::collections::BTreeMap;

use advisory_core::monitor::{self, LockStatus};
use sqlx::postgres::PgPool;

use super::victim::Victim;
use super::{How, Sessions};
use crate::exit::{Code, Failure};
use crate::target::Target;

type Found = Vec<Result<Victim, Failure>>;

/// Each session that is meant, or why there is none.
pub(super) async fn search(pool: &PgPool, meant: &Sessions, how: How) -> Result<Found, Failure> {
    match &meant.name {
        Some(name) => by_lock(pool, meant, name, how).await,
        None => by_pid(pool, &meant.pids).await,
    }
}

async fn by_pid(pool: &PgPool, pids: &[i32]) -> Result<Found, Failure> {
    let locks = monitor::locks_of_all_databases(pool).await?;
    let mut pids = pids.to_vec();
    pids.sort_unstable();
    pids.dedup();
    let mut found = Vec::new();
    for pid in pids {
        let its = locks.iter().filter(|lock| lock.pid == pid).cloned();
        let sessions = sessions(its);
        if sessions.is_empty() {
            found.push(Err(nobody(pid)));
        }
        found.extend(sessions.into_iter().map(Ok));
    }
    Ok(found)
}

fn nobody(pid: i32) -> Failure {
    let message = match pid {
        0 => "no prepared transaction holds an advisory lock".to_owned(),
        pid => format!("pid {pid} holds no advisory lock and waits for none"),
    };
    Failure::new(Code::Failure, message)
}

async fn by_lock(pool: &PgPool, meant: &Sessions, name: &str, how: How) -> Result<Found, Failure> {
    let lock = Target::new(name.to_owned(), meant.key_scheme, meant.key).lock()?;
    let (waiters, holders) = match (meant.sides.waiters, meant.sides.holders) {
        (false, false) => (how == How::Cancel, how == How::Terminate),
        given => given,
    };
    let mut locks = Vec::new();
    for key in lock.keys() {
        if holders {
            locks.extend(monitor::holders(pool, *key).await?);
        }
        if waiters {
            locks.extend(monitor::waiters(pool, *key).await?);
        }
    }
    if locks.is_empty() {
        let doing = match (waiters, holders) {
            (true, true) => "holds or waits for",
            (true, false) => "waits for",
            _ => "holds",
        };
        let message = format!("nobody {doing} advisory lock {lock}");
        return Ok(vec![Err(Failure::new(Code::Failure, message))]);
    }
    Ok(sessions(locks.into_iter()).into_iter().map(Ok).collect())
}

/// What each session holds and waits for. Prepared transactions, which have no process id, are told apart by what they are called.
fn sessions(locks: impl Iterator<Item = LockStatus>) -> Vec<Victim> {
    let mut sessions: BTreeMap<_, Vec<LockStatus>> = BTreeMap::new();
    for lock in locks {
        let session = (lock.pid, lock.prepared.clone());
        sessions.entry(session).or_default().push(lock);
    }
    sessions
        .into_iter()
        .map(|((pid, _), locks)| Victim { pid, locks })
        .collect()
}
