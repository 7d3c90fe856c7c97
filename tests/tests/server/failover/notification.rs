//! After every fault of the primary, bodies end within the documented bound, waits end in an error,
//! and the pool works again.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::{Cut, Database, Proxy, Shutdown, another_pool};
use advisory_verbs::Verb;
use futures_util::future::join_all;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::client::{bound, clients, is_notification, run};
use super::pair::{Fault, Pair};
use super::timeline::Timeline;
use super::{RESPONSE_TIMEOUT, SLACK, lock, session_lock};

/// A running client.
struct Running {
    what: String,
    verb: Verb,
    is_holder: bool,
    /// How long the client may continue after the fault; `None` if the silence has to end first.
    bound: Option<Duration>,
    timeline: Timeline,
    task: JoinHandle<(Result<bool, Error>, Instant)>,
}

impl Running {
    fn start(
        verb: Verb,
        does: &str,
        lock: &AdvisoryLock,
        pool: &PgPool,
        bound: Option<Duration>,
    ) -> Self {
        let timeline = Timeline::endless();
        let run = run(verb, lock, pool, timeline.clone());
        Self {
            what: format!("{verb} {does}"),
            verb,
            is_holder: false,
            bound,
            timeline,
            task: tokio::spawn(async { (run.await, Instant::now()) }),
        }
    }

    /// The error of the client, which must be returned in time.
    async fn error(self, since: Instant) -> Error {
        let (what, most) = (self.what, self.bound.unwrap_or_default() + SLACK);
        let ended = timeout(most + SLACK, self.task).await;
        let ended = ended.unwrap_or_else(|elapsed| panic!("{what}: {elapsed}"));
        let (outcome, at) = ended.unwrap();
        let took = at.saturating_duration_since(since);
        assert!(took <= most, "{what}: {took:?} of {most:?}");
        outcome.expect_err(&what)
    }

    /// Asserts that the body of a holder has ended in time and that its call has returned the
    /// reason, or that a wait has ended in time and that no body has begun.
    async fn assert_notified(self, fault: Fault, since: Instant) {
        let (what, verb, timeline) = (self.what.clone(), self.verb, self.timeline.clone());
        if self.is_holder {
            let error = self.error(since).await;
            assert!(timeline.has_ended(), "{what}: its body continues");
            assert!(is_notification(verb, &error), "{what}: {error:?}");
            return;
        }
        let error = self.error(since).await;
        // A server that ends its sessions one after the other may grant the lock of the first
        // session to the next one for a moment.
        if fault == Fault::Stopped(Shutdown::Fast) && timeline.has_begun() {
            return;
        }
        assert!(!timeline.has_begun(), "{what}: granted by a stopped server");
        let is_wrong = error.is_not_acquired() || error.is_lost();
        assert!(!is_wrong, "{what}: {error:?}");
    }
}

/// Every client as a holder, each with a lock of its own.
async fn holders(pool: &PgPool, fault: Fault) -> Vec<Running> {
    let hold = |verb: Verb| Running {
        is_holder: true,
        ..Running::start(verb, "holds", &lock(verb.name()), pool, bound(verb, fault))
    };
    let holders: Vec<_> = clients().map(hold).collect();
    for holder in &holders {
        holder.timeline.began().await;
    }
    holders
}

/// Every client as a waiter for the lock of one of the holders, with every kind of wait.
async fn waiters(database: &Database, pool: &PgPool, fault: Fault) -> Vec<Running> {
    let (limit, timed, endless) = match fault {
        Fault::Stopped(_) => (
            Duration::from_mins(1),
            Some(Duration::ZERO),
            Some(Duration::ZERO),
        ),
        Fault::Silence => (RESPONSE_TIMEOUT, Some(RESPONSE_TIMEOUT * 2), None),
    };
    let held = lock(Verb::Begin.name());
    let limited = held.clone().timeout(limit);
    let polling = limited.clone().polling(Duration::from_millis(50));
    let kinds = [
        ("waits without a timeout", held.wait_forever(), endless),
        ("waits", limited, timed),
        ("polls", polling, timed),
    ];
    let kinds = &kinds;
    let waits = clients().flat_map(|verb| kinds.iter().map(move |kind| (verb, kind)));
    // Of one pool, only one would wait on the server. On a busy machine, connecting takes longer
    // than the limit.
    let connected = join_all(waits.map(async |wait| {
        let pool = another_pool(pool);
        drop(pool.acquire().await.unwrap());
        (wait, pool)
    }));
    let mut waiters = Vec::new();
    for ((verb, (does, lock, bound)), pool) in connected.await {
        waiters.push(Running::start(verb, does, lock, &pool, *bound));
    }
    database.wait_until_waiting(clients().count() * 2).await;
    waiters
}

/// Asserts that every client gets its lock, and that a session lock is held on the new primary.
async fn assert_works(pool: &PgPool, new: &Database) {
    let runs = clients().map(|verb| run(verb, &lock(verb.name()), pool, Timeline::brief()));
    for (verb, outcome) in clients().zip(join_all(runs).await) {
        assert!(
            matches!(outcome, Ok(true)),
            "{verb} afterwards: {outcome:?}"
        );
    }
    let guard = session_lock("leader").acquire(pool).await.unwrap();
    new.wait_until_held(1).await;
    guard.release().await.unwrap();
    new.assert_nothing_leaked(pool).await;
}

async fn assert_all_are_notified(fault: Fault) {
    let pair = Pair::start().await;
    let old = &pair.primary.database;
    let proxy = Proxy::start_tcp(old);
    let pool = PgPoolOptions::new().max_connections(60);
    // A lock that is granted at once does not change settings of the caller's transaction. The
    // server checks during a statement whether its client is connected only if the interval is set.
    let settings = [("client_connection_check_interval", "500ms")];
    let options = proxy.options().options(settings);
    let pool = pool.connect_with(options).await.unwrap();
    let holders = holders(&pool, fault).await;
    let waiters = waiters(old, &pool, fault).await;

    let failed_at = Instant::now();
    pair.fail_primary(fault, &proxy).await;
    let all = holders.into_iter().chain(waiters);
    let (bounded, unbounded): (Vec<_>, Vec<_>) = all.partition(|running| running.bound.is_some());
    for running in bounded {
        running.assert_notified(fault, failed_at).await;
    }
    // A client without a bound continues until the network closes the connection.
    let cut = Instant::now();
    proxy.cut(Cut::Fin).await;
    for running in unbounded {
        running.assert_notified(fault, cut).await;
    }

    pair.promote().await;
    assert_works(&pool, &pair.standby.database).await;
    if fault == Fault::Silence {
        old.assert_nothing_left().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_clients_notice_a_killed_primary() {
    assert_all_are_notified(Fault::Stopped(Shutdown::Kill)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_clients_notice_an_immediate_shutdown() {
    assert_all_are_notified(Fault::Stopped(Shutdown::Immediate)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_clients_notice_a_fast_shutdown() {
    assert_all_are_notified(Fault::Stopped(Shutdown::Fast)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_clients_notice_a_silent_primary() {
    assert_all_are_notified(Fault::Silence).await;
}
