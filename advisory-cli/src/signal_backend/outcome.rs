//! The outcome of a signal: whether the session obeyed, and who holds its locks now.

use std::collections::{BTreeMap, HashMap};
use std::mem::replace;
use std::time::{Duration, Instant};

use advisory_core::Key;
use advisory_core::monitor::{self, LockStatus};
use sqlx::postgres::PgPool;
use tokio::time::sleep;

use super::action::Action;
use super::session::Session;
use crate::exit::Failure;
use crate::group;
use crate::lock_status::{UNTRACKED, lock_id};
use crate::output;

/// How long a session may take to obey.
const TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until a session has obeyed, and prints who holds its locks. A pooler can close our own
/// connection when it sees the end of a backend, so a lost connection is opened again.
pub(super) async fn wait(pool: &PgPool, action: Action, session: &Session) -> Result<(), Failure> {
    let sent = Instant::now();
    // A list shows locks and states of two moments: locks that the session had before its last
    // state. So the list is read once more.
    let mut has_obeyed_before = false;
    loop {
        let locks = monitor::locks_of_all_databases(pool).await;
        let is_late = sent.elapsed() > TIMEOUT;
        match locks.map_err(Failure::from) {
            Ok(locks) if has_obeyed(action, session, &locks, sent.elapsed()) => {
                if replace(&mut has_obeyed_before, true) {
                    return print(action, session, &locks);
                }
            }
            Ok(_) if is_late => return Err(timed_out(action, session)),
            Err(failure) if is_late || !failure.is_connection_lost() => {
                return Err(unseen(session, &failure));
            }
            _ => sleep(POLL_INTERVAL).await,
        }
    }
}

fn has_obeyed(
    action: Action,
    session: &Session,
    locks: &[LockStatus],
    since_sent: Duration,
) -> bool {
    match action {
        Action::Cancel => is_cancelled(session, locks, since_sent),
        Action::Terminate => !locks.iter().any(|lock| lock.pid == session.pid),
    }
}

/// Whether the session's wait or statement has ended. It may still hold its locks.
fn is_cancelled(session: &Session, locks: &[LockStatus], since_sent: Duration) -> bool {
    let mut remaining = locks.iter().filter(|lock| session.had(lock));
    remaining.all(|lock| {
        let state = lock.state.as_deref().unwrap_or(UNTRACKED);
        let is_active = ["active", UNTRACKED].contains(&state);
        let is_later = lock.state_age.is_some_and(|since| since < since_sent);
        lock.granted && (!is_active || is_later)
    })
}

fn print(action: Action, session: &Session, locks: &[LockStatus]) -> Result<(), Failure> {
    let pid = session.pid;
    output::print_line(format!("{} {pid}", action.past()))?;
    // A lock that the session held and waited for, in two modes, is listed once, as held.
    let mut was_held = BTreeMap::new();
    for lock in &session.locks {
        *was_held.entry(lock_id(lock)).or_insert(false) |= !session.waits_for(lock);
    }
    let mut holders: HashMap<_, Vec<i32>> = HashMap::new();
    for lock in locks.iter().filter(|lock| lock.granted) {
        holders.entry(lock_id(lock)).or_default().push(lock.pid);
    }
    let holders = |id| holders.get(&id).map_or(&[][..], Vec::as_slice);
    let fates = was_held
        .into_iter()
        .map(|(id, was_held)| (id.1, was_held, holders(id)));
    for alike in group::group(fates, |(_, was_held, holders)| Some((was_held, holders))) {
        let (_, was_held, holders) = alike[0];
        let keys: Vec<_> = alike.into_iter().map(|(key, ..)| key).collect();
        output::print_line(format!("  {}", describe(pid, was_held, &keys, holders)))?;
    }
    Ok(())
}

/// Describes locks that have the same holders now.
fn describe(pid: i32, was_held: bool, keys: &[Key], holders: &[i32]) -> String {
    let locks = group::list(keys.iter().map(ToString::to_string));
    if holders.is_empty() {
        let verb = if keys.len() == 1 { "is" } else { "are" };
        return format!("{locks} {verb} free");
    }
    if holders.contains(&pid) {
        return format!("it still holds {locks}; `advisory terminate {pid}` ends its session");
    }
    let pids: Vec<_> = holders.iter().map(ToString::to_string).collect();
    let pids = pids.join(", ");
    if was_held {
        format!("{locks} went to pid {pids}")
    } else {
        format!("it no longer waits for {locks}, which pid {pids} holds")
    }
}

fn unseen(session: &Session, failure: &Failure) -> Failure {
    let pid = session.pid;
    let message = format!(
        "the signal was sent to pid {pid}, and its outcome is unknown, because the connection was \
         lost: {failure}; `advisory ls --all-databases` shows whether it still holds locks"
    );
    Failure::new(failure.code(), message)
}

fn timed_out(action: Action, session: &Session) -> Failure {
    let (pid, locks, seconds) = (session.pid, session.lock_names(), TIMEOUT.as_secs());
    let remedy = match action {
        Action::Cancel => format!("`advisory terminate {pid}` ends its session"),
        Action::Terminate => "its server process may hang; see the server's log".to_owned(),
    };
    Failure::other(format!(
        "the signal was sent to pid {pid}, which still holds or waits for {locks} after {seconds} s; \
         {remedy}"
    ))
}
