//! Whatever becomes of the primary: bodies end within the stated bound, waits end in an error, and the pool goes on.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::{Cut, Database, Proxy, Shutdown};
use futures_util::future::join_all;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::client::{CLIENTS, Client};
use crate::life::Life;
use crate::pair::{Fault, Pair};
use crate::{PATIENCE, SLACK, lock, session_lock};

/// A client at work.
struct Running {
    what: String,
    client: &'static Client,
    is_holder: bool,
    /// How long it may go on after the fault; `None` if the silence has to end first.
    bound: Option<Duration>,
    life: Life,
    task: JoinHandle<(Result<(), Error>, Instant)>,
}

impl Running {
    fn start(
        client: &'static Client,
        does: &str,
        lock: AdvisoryLock,
        pool: &PgPool,
        bound: Option<Duration>,
    ) -> Self {
        let life = Life::long();
        let run = client.run(lock, pool, life.clone());
        Self {
            what: format!("{} {does}", client.name),
            client,
            is_holder: false,
            bound,
            life,
            task: tokio::spawn(async { (run.await, Instant::now()) }),
        }
    }

    /// Its error, which comes in time.
    async fn error(self, since: Instant) -> Error {
        let (what, most) = (self.what, self.bound.unwrap_or_default() + SLACK);
        let ended = timeout(most + SLACK, self.task).await;
        let ended = ended.unwrap_or_else(|elapsed| panic!("{what}: {elapsed}"));
        let (outcome, at) = ended.unwrap();
        let took = at.saturating_duration_since(since);
        assert!(took <= most, "{what}: {took:?} of {most:?}");
        outcome.expect_err(&what)
    }

    /// A holder's body has ended in time, and its call says why. A wait has ended as well, and no body has begun.
    async fn assert_told(self, fault: Fault, since: Instant) {
        let (what, client, life) = (self.what.clone(), self.client, self.life.clone());
        if self.is_holder {
            let error = self.error(since).await;
            assert!(life.has_ended(), "{what}: its body goes on");
            assert!(client.is_told(&error), "{what}: {error:?}");
            return;
        }
        let error = self.error(since).await;
        // A server that ends its sessions one after the other may give the lock of the first to the next, for a moment.
        if fault == Fault::Ends(Shutdown::Fast) && life.has_begun() {
            return;
        }
        assert!(!life.has_begun(), "{what}: granted by a dead server");
        let is_wrong = error.is_not_acquired() || error.is_lost();
        assert!(!is_wrong, "{what}: {error:?}");
    }
}

/// Every client, each with a lock of its own.
async fn holders(pool: &PgPool, fault: Fault) -> Vec<Running> {
    let hold = |client: &'static Client| {
        let bound = client.bound(fault);
        Running {
            is_holder: true,
            ..Running::start(client, "holds", lock(client.name), pool, bound)
        }
    };
    let holders: Vec<_> = CLIENTS.iter().map(hold).collect();
    for holder in &holders {
        holder.life.began().await;
    }
    holders
}

/// Every client, with every kind of wait for the lock of one of the holders.
async fn waiters(database: &Database, pool: &PgPool, fault: Fault) -> Vec<Running> {
    let (limit, timed, endless) = match fault {
        Fault::Ends(_) => (
            Duration::from_mins(1),
            Some(Duration::ZERO),
            Some(Duration::ZERO),
        ),
        Fault::Silence => (PATIENCE, Some(PATIENCE * 2), None),
    };
    let held = lock(CLIENTS[0].name);
    let limited = held.clone().timeout(limit);
    let polling = limited.clone().polling(Duration::from_millis(50));
    let kinds = [
        ("waits for ever", held.wait_forever(), endless),
        ("waits", limited, timed),
        ("polls", polling, timed),
    ];
    let mut waiters = Vec::new();
    for client in &CLIENTS {
        for (does, lock, bound) in kinds.clone() {
            waiters.push(Running::start(client, does, lock, pool, bound));
        }
    }
    database.wait_until_waiting(CLIENTS.len() * 2).await;
    waiters
}

/// Every client gets its lock, and another one that is then seen on the new primary.
async fn assert_works(pool: &PgPool, new: &Database) {
    let runs = CLIENTS
        .iter()
        .map(|client| client.run(lock(client.name), pool, Life::brief()));
    for (client, outcome) in CLIENTS.iter().zip(join_all(runs).await) {
        assert!(outcome.is_ok(), "{} afterwards: {outcome:?}", client.name);
    }
    let guard = session_lock("leader").acquire(pool).await.unwrap();
    new.wait_until_held(1).await;
    guard.release().await.unwrap();
    new.assert_nothing_leaked(pool).await;
}

async fn assert_all_are_told(fault: Fault) {
    let pair = Pair::start().await;
    let old = &pair.primary.database;
    let proxy = Proxy::start_tcp(old);
    let pool = PgPoolOptions::new().max_connections(60);
    let pool = pool.connect_with(proxy.options()).await.unwrap();
    let holders = holders(&pool, fault).await;
    let waiters = waiters(old, &pool, fault).await;

    let struck = Instant::now();
    pair.strike(fault, &proxy).await;
    let all = holders.into_iter().chain(waiters);
    let (bounded, unbounded): (Vec<_>, Vec<_>) = all.partition(|running| running.bound.is_some());
    for running in bounded {
        running.assert_told(fault, struck).await;
    }
    // What nothing bounds lasts until the network gives the connection up.
    let cut = Instant::now();
    proxy.cut(Cut::Fin).await;
    for running in unbounded {
        running.assert_told(fault, cut).await;
    }

    pair.promote().await;
    assert_works(&pool, &pair.standby.database).await;
    if fault == Fault::Silence {
        old.assert_nothing_leaked(&old.pool(1).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_told_that_the_primary_was_killed() {
    assert_all_are_told(Fault::Ends(Shutdown::Kill)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_told_that_the_primary_has_ended_at_once() {
    assert_all_are_told(Fault::Ends(Shutdown::Immediate)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_told_that_the_primary_was_shut_down() {
    assert_all_are_told(Fault::Ends(Shutdown::Fast)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_told_that_the_primary_is_silent() {
    assert_all_are_told(Fault::Silence).await;
}
