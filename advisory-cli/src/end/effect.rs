//! What has come of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use advisory_core::Key;
use advisory_core::monitor::{self, LockStatus};
use sqlx::postgres::PgPool;
use tokio::time::sleep;

use super::victim::Victim;
use super::{How, holding};
use crate::exit::{Code, Failure};
use crate::output;

/// How long a session may take to do as it was told.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until a session has done as it was told, and says what is free now.
pub(super) async fn wait(pool: &PgPool, how: How, victim: &Victim) -> Result<(), Failure> {
    let told = Instant::now();
    loop {
        let locks = monitor::locks_of_all_databases(pool).await?;
        let is_done = match how {
            How::Cancel => is_cancelled(victim, &locks, told.elapsed()),
            How::Terminate => !locks.iter().any(|lock| lock.pid == victim.pid),
        };
        if is_done {
            return say(how, victim, &locks);
        }
        if told.elapsed() > PATIENCE {
            return Err(late(how, victim));
        }
        sleep(PAUSE).await;
    }
}

/// Whether what it waited for or ran is over. It may keep what it holds.
fn is_cancelled(victim: &Victim, locks: &[LockStatus], ago: Duration) -> bool {
    let mut left = locks.iter().filter(|lock| victim.had(lock));
    left.all(|lock| {
        let is_active = lock.state.as_deref().is_none_or(|state| state == "active");
        let is_new = lock.state_since.is_some_and(|since| since < ago);
        lock.granted && (!is_active || is_new)
    })
}

fn say(how: How, victim: &Victim, locks: &[LockStatus]) -> Result<(), Failure> {
    let pid = victim.pid;
    let done = match how {
        How::Cancel => "cancelled",
        How::Terminate => "terminated",
    };
    output::line(format!("{done} {pid}"))?;
    for (database, key, was_held) in touched(victim) {
        let of_key =
            |lock: &&LockStatus| lock.granted && (&*lock.database, lock.key) == (database, key);
        let holders: Vec<_> = locks.iter().filter(of_key).collect();
        output::line(format!("  {}", fate(pid, was_held, key, &holders)))?;
    }
    Ok(())
}

/// Each lock once: held, where it was held and waited for.
fn touched(victim: &Victim) -> Vec<(&str, Key, bool)> {
    let mut touched = BTreeMap::new();
    for lock in &victim.locks {
        *touched.entry((&*lock.database, lock.key)).or_insert(false) |= lock.granted;
    }
    touched
        .into_iter()
        .map(|((database, key), held)| (database, key, held))
        .collect()
}

fn fate(pid: i32, was_held: bool, key: Key, holders: &[&LockStatus]) -> String {
    let pids: Vec<_> = holders.iter().map(|lock| lock.pid.to_string()).collect();
    match holders {
        [] => format!("{key} is free"),
        _ if holders.iter().any(|lock| lock.pid == pid) => {
            format!("it still holds {key}; `advisory terminate {pid}` ends its session")
        }
        _ if was_held => format!("{key} went to pid {}", pids.join(", ")),
        _ => format!(
            "it waits no more for {key}, which pid {} holds",
            pids.join(", ")
        ),
    }
}

fn late(how: How, victim: &Victim) -> Failure {
    let Victim { pid, locks } = victim;
    let locks: Vec<_> = locks.iter().map(holding::name).collect();
    let remedy = match how {
        How::Cancel => format!("`advisory terminate {pid}` ends its session"),
        How::Terminate => "its server process may be stuck in the system; look there".to_owned(),
    };
    let message = format!(
        "pid {pid} was told, and still has to do with {} after {} s; {remedy}",
        locks.join(", "),
        PATIENCE.as_secs()
    );
    Failure::new(Code::Failure, message)
}
