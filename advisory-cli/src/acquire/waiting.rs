//! The messages on standard error while a lock is waited for.

use std::fmt::Display;
use std::io::{IsTerminal as _, stderr};
use std::pin::pin;
use std::time::Duration;

use advisory_core::monitor::{self, LockStatus};
use advisory_core::{Error, LockId};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::{Instant, timeout};

use crate::duration::age;
use crate::exit::print_message;
use crate::lock_status::application;
use crate::output::printable;

/// A wait that ends sooner is not mentioned.
const SILENT: Duration = Duration::from_secs(1);

/// How long to look for the holders.
const LOOK_UP: Duration = Duration::from_secs(5);

/// So many holders are named.
const NAMED: usize = 3;

pub(super) struct Progress {
    is_shown: bool,
}

impl Progress {
    /// Shown on a terminal, and on request.
    pub(super) fn new(is_requested: bool) -> Self {
        let is_shown = is_requested || stderr().is_terminal();
        Self { is_shown }
    }

    pub(super) fn print(&self, message: impl Display) {
        if self.is_shown {
            print_message(message);
        }
    }

    /// Says who holds the lock while `acquire` waits, and how long it took in the end.
    pub(super) async fn of_wait<T>(
        &self,
        lock: &LockId,
        pool: &PgPool,
        acquire: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut acquire = pin!(acquire);
        if !self.is_shown {
            return acquire.await;
        }
        let started = Instant::now();
        if let Ok(done) = timeout(SILENT, &mut acquire).await {
            return done;
        }
        let acquired = tokio::select! {
            biased;
            done = &mut acquire => done,
            holders = held_by(lock, pool) => {
                self.print(format_args!("waiting for {lock}{holders}"));
                acquire.await
            }
        };
        if acquired.is_ok() {
            self.print(format_args!(
                "{lock} acquired after {}",
                age(started.elapsed())
            ));
        }
        acquired
    }
}

/// `, held by pid 123 (web) for 3 min`; empty if the holders cannot be found.
async fn held_by(lock: &LockId, pool: &PgPool) -> String {
    // A connection of the pool would stay open while the lock is held.
    let look_up = async {
        let mut conn: PgConnection = pool.connect_options().connect().await?;
        let holders = holders(lock, &mut conn).await?;
        conn.close().await?;
        Ok::<_, Error>(holders)
    };
    match timeout(LOOK_UP, look_up).await {
        Ok(Ok(holders)) => describe(&holders),
        _ => String::new(),
    }
}

async fn holders(lock: &LockId, conn: &mut PgConnection) -> Result<Vec<LockStatus>, Error> {
    let permits = 1..=lock.permits();
    let mut holders = Vec::new();
    for key in lock.keys() {
        if lock.permits() == 1 {
            holders.extend(monitor::holders(&mut *conn, *key).await?);
            continue;
        }
        let holds_permit = |other: &LockStatus| {
            let slot = key.slot_number(other.key);
            other.granted && slot.is_some_and(|slot| permits.contains(&slot))
        };
        let locks = monitor::locks(&mut *conn).await?;
        holders.extend(locks.into_iter().filter(holds_permit));
    }
    Ok(holders)
}

fn describe(holders: &[LockStatus]) -> String {
    let named: Vec<_> = holders.iter().take(NAMED).map(holder).collect();
    let rest = match holders.len() - named.len() {
        0 => String::new(),
        rest => format!(" and {rest} more"),
    };
    match &named[..] {
        [] => String::new(),
        named => format!(", held by {}{rest}", named.join(", ")),
    }
}

/// `pid 123 (web) for 3 min`. A session that is in no transaction has held the lock for at most as
/// long as it is connected.
fn holder(lock: &LockStatus) -> String {
    let session = match (&lock.gid, lock.pid) {
        (Some(gid), _) => format!("the prepared transaction '{}'", printable(gid)),
        (None, pid) => format!("pid {pid}"),
    };
    let application = application(lock).map(|name| format!(" ({})", printable(&name)));
    let application = application.unwrap_or_default();
    let time = match (lock.transaction_age, lock.session_age) {
        (Some(transaction), _) => format!(" for {}", age(transaction)),
        (None, Some(session)) => format!(", connected for {}", age(session)),
        (None, None) => String::new(),
    };
    format!("{session}{application}{time}")
}
