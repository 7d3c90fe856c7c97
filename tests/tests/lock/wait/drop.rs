//! A future that is dropped at any await leaks nothing.
//!
//! Each verb is polled n times and dropped, for every n until it completes (in short depth, for
//! every third n): with the lock free, with the lock held, and with the lock released while the
//! verb waits.

use std::pin::pin;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Isolation, Key, unlock_all};
use advisory_tests::{BackendRow, Database, LockRow, by_depth, drop_after, drop_when, sample};
use advisory_verbs::{Scope, Verb, Work};
use futures_util::future::{Either, join_all, select};
use sqlx::{Executor as _, PgPool, PgTransaction};

/// The numbers of polls after which a future is dropped.
fn polls() -> impl Iterator<Item = usize> {
    let (first, step) = by_depth((fastrand::usize(..6), 6), (0, 1));
    (first..).step_by(step)
}

struct Case<'a> {
    verb: Verb,
    lock: AdvisoryLock,
    database: &'a Database,
    pool: PgPool,
    /// The pool of the rival, which holds the locks.
    rival: &'a PgPool,
}

impl Case<'_> {
    fn start(&self) -> Work<'static, Result<bool, Error>> {
        let lock = self.lock.clone();
        let lock = match self.verb.scope() {
            Scope::CallerTransaction => lock.cancel_via(&self.pool),
            _ => lock,
        };
        self.verb.ask(&lock, &self.pool)
    }

    /// Returns how many polls a free lock takes.
    async fn drop_at_every_poll(&self, kind: &str) -> usize {
        let free = self.while_free().await;
        let held = if self.leaves_the_queue() {
            self.while_held().await.to_string()
        } else {
            "-".to_owned()
        };
        let granted = self.while_released().await;
        let in_line = if self.verb.keeps_connection() {
            self.while_in_line().await.to_string()
        } else {
            "-".to_owned()
        };
        let what = format!("{}, {kind}", self.verb);
        println!(
            "{what:<60} dropped after 0..={free} polls free, {held} held, {granted} granted, {in_line} in line"
        );
        free
    }

    /// False if a dropped wait remains on the caller's connection until it is granted or times out.
    fn leaves_the_queue(&self) -> bool {
        match self.verb.scope() {
            Scope::NewTransaction | Scope::Session | Scope::LockSession => true,
            // With `cancel_via`. A function that does not wait is not in the queue.
            Scope::CallerTransaction | Scope::CallerSession => {
                self.verb.is_of_lock() || !self.verb.can_wait()
            }
            Scope::CallerConnection => false,
        }
    }

    /// How many transactions of the rival hold the lock.
    fn rivals(&self) -> usize {
        usize::try_from(self.lock.id().permits()).unwrap()
    }

    fn held_locks(&self) -> usize {
        self.lock.keys().len() * self.rivals()
    }

    /// The rival takes the lock, with all its permits.
    async fn hold(&self) -> Vec<PgTransaction<'static>> {
        let mut held = Vec::new();
        for _ in 0..self.rivals() {
            held.push(self.lock.begin(self.rival).await.unwrap());
        }
        held
    }

    /// Waits until somebody queues for the lock. The first in the queue for a permit holds a lock.
    async fn wait_until_waiting(&self) {
        let held = self.held_locks();
        let is_waited_for =
            |locks: &[LockRow]| locks.len() > held || locks.iter().any(|lock| !lock.granted);
        let waits = self.database.wait_until_locks("a waiter", is_waited_for);
        waits.await;
    }

    async fn while_free(&self) -> usize {
        for polls in polls() {
            let outcome = drop_after(polls, self.start()).await;
            self.database.assert_nothing_leaked(&self.pool).await;
            if let Some(outcome) = outcome {
                assert!(matches!(outcome, Ok(true)), "{}: {outcome:?}", self.verb);
                return polls;
            }
        }
        unreachable!()
    }

    async fn while_held(&self) -> usize {
        let held = self.hold().await;
        for polls in polls() {
            // A future that waits in the queue is not woken again. It is dropped there, and this is
            // the last poll.
            let finished = {
                let work = pin!(drop_after(polls, self.start()));
                let waits = pin!(self.wait_until_waiting());
                match select(work, waits).await {
                    Either::Left((outcome, _)) => outcome.is_some(),
                    Either::Right(_) => true,
                }
            };
            self.assert_only_the_rival_holds().await;
            if finished {
                release(held).await;
                self.database.assert_nothing_leaked(&self.pool).await;
                return polls;
            }
        }
        unreachable!()
    }

    async fn while_released(&self) -> usize {
        for polls in polls() {
            let held = self.hold().await;
            let mut work = pin!(drop_after(polls, self.start()));
            // Not every verb waits, and a verb that is dropped early never does.
            let ended = {
                let waits = pin!(self.wait_until_waiting());
                match select(work.as_mut(), waits).await {
                    Either::Left((outcome, _)) => Some(outcome),
                    Either::Right(_) => None,
                }
            };
            release(held).await;
            let outcome = match ended {
                Some(outcome) => outcome,
                None => work.await,
            };
            self.database.assert_nothing_leaked(&self.pool).await;
            if outcome.is_some() {
                return polls;
            }
        }
        unreachable!()
    }

    /// Behind another call on the same pool, which waits on the server.
    async fn while_in_line(&self) -> usize {
        for polls in polls() {
            let held = self.hold().await;
            let (lock, pool) = (AdvisoryLock::from(self.lock.id()), self.pool.clone());
            let first = tokio::spawn(async move { lock.begin(&pool).await.map(drop) });
            self.wait_until_waiting().await;
            let release = async {
                tokio::task::yield_now().await;
                release(held).await;
                first.await.unwrap().unwrap();
            };
            let (outcome, ()) = tokio::join!(drop_after(polls, self.start()), release);
            self.database.assert_nothing_leaked(&self.pool).await;
            if outcome.is_some() {
                return polls;
            }
        }
        unreachable!()
    }

    /// Waits until only the rival holds locks, and every connection of the pool can be acquired.
    async fn assert_only_the_rival_holds(&self) {
        let held = self.held_locks();
        let only = |locks: &[LockRow]| locks.len() == held && locks.iter().all(|lock| lock.granted);
        let only = self.database.wait_until_locks("the rival's locks", only);
        only.await;
        let ours = |backends: &[BackendRow]| {
            let busy = backends.iter().filter(|backend| backend.in_transaction);
            busy.count() == self.rivals()
        };
        let ours = self
            .database
            .wait_until_backends("the rival's transactions", ours);
        ours.await;
        let all = (0..self.pool.options().get_max_connections()).map(|_| self.pool.acquire());
        drop(futures_util::future::try_join_all(all).await.unwrap());
    }
}

async fn release(held: Vec<PgTransaction<'static>>) {
    for held in held {
        held.rollback().await.unwrap();
    }
}

/// The kinds of locks with which each verb is dropped. In short depth, each verb has every second
/// kind.
fn locks(verb: Verb) -> Vec<(&'static str, AdvisoryLock)> {
    let one = AdvisoryLock::new("one");
    if verb.is_function() {
        return vec![("one", one.clone()), ("shared", one.shared())];
    }
    let several = AdvisoryLock::all([Key::from(1), Key::from(2), Key::from((1, 2))]);
    let timeout = Duration::from_mins(1);
    let kinds = [
        ("one", one.clone()),
        ("timeout", one.clone().timeout(timeout)),
        ("tag", one.clone().tag_statement()),
        ("several, timeout", several.clone().timeout(timeout)),
        ("several", several),
        ("permits", one.clone().permits(2)),
        ("permits, timeout", one.clone().permits(2).timeout(timeout)),
    ];
    let mut locks: Vec<_> = sample(verb as usize, kinds).collect();
    if verb.takes_isolation() {
        locks.push((
            "serializable",
            one.clone().isolation(Isolation::Serializable),
        ));
    }
    if let Verb::TryBegin | Verb::TryAcquire = verb {
        let polling = one.polling(Duration::from_millis(20));
        locks.push(("polling", polling.timeout(Duration::from_millis(40))));
    }
    locks
}

/// Drops every verb of these scopes at every poll, each in a database of its own.
async fn assert_nothing_leaks(scopes: &[Scope]) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    fastrand::seed(seed);
    let verbs = Verb::ALL
        .into_iter()
        .filter(|verb| scopes.contains(&verb.scope()));
    let cases = verbs.map(async |verb| {
        let database = Database::new().await;
        let rival = database.pool(2).await;
        let pool = database.pool(2).await;
        let mut most_polls = 0;
        for (kind, lock) in locks(verb) {
            let case = Case {
                verb,
                lock,
                database: &database,
                pool: pool.clone(),
                rival: &rival,
            };
            most_polls = most_polls.max(case.drop_at_every_poll(kind).await);
        }
        most_polls
    });
    // On a busy machine, a single answer may be there with the first poll.
    let most_polls = join_all(cases).await.into_iter().max();
    assert!(
        most_polls > Some(1),
        "no verb waits for the server: the test sees nothing"
    );
}

#[tokio::test]
async fn verbs_with_a_new_transaction_leak_nothing() {
    assert_nothing_leaks(&[Scope::NewTransaction]).await;
}

#[tokio::test]
async fn verbs_with_a_session_leak_nothing() {
    assert_nothing_leaks(&[Scope::Session, Scope::LockSession]).await;
}

#[tokio::test]
async fn verbs_of_the_callers_connection_leak_nothing() {
    let scopes = [
        Scope::CallerTransaction,
        Scope::CallerConnection,
        Scope::CallerSession,
    ];
    assert_nothing_leaks(&scopes).await;
}

/// No background task continues the wait, so the connection leaves the pool when the wait is
/// dropped.
#[tokio::test]
async fn dropped_wait_frees_its_connection_at_once() {
    let database = Database::new().await;
    let (pool, rival) = (database.pool(2).await, database.pool(1).await);
    let lock = AdvisoryLock::new("one").wait_forever();
    let held = lock.begin(&rival).await.unwrap();
    for verb in Verb::all(Verb::keeps_connection) {
        let mut wait = verb.ask(&lock, &pool);
        database.drop_when_waiting(wait.as_mut()).await;
        assert_eq!(pool.size(), 1);
        drop(wait);
        assert_eq!(pool.size(), 0, "{verb} closes it without an await");
        database.wait_until_waiting(0).await;
    }
    held.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

/// `unlock_all` is not cancel safe. Its documentation requires that the connection is closed.
#[tokio::test]
async fn unlock_all_leaks_nothing_on_a_closed_connection() {
    let (database, pool) = Database::with_pool(2).await;
    for polls in 0.. {
        let work = async {
            let mut conn = pool.acquire().await.unwrap();
            conn.close_on_drop();
            advisory_core::lock(&mut conn, "one").await.unwrap();
            unlock_all(&mut conn).await.unwrap();
        };
        let outcome = drop_after(polls, work).await;
        database.assert_nothing_leaked(&pool).await;
        if outcome.is_some() {
            break;
        }
    }
}

/// A body that is dropped during a long statement releases its lock before the statement ends.
#[tokio::test]
async fn body_dropped_in_a_long_statement_releases_its_lock() {
    let (database, pool) = Database::with_pool(2).await;
    let lock = AdvisoryLock::new("long");
    let long = lock.transaction(&pool, async |tx| {
        tx.execute("SELECT pg_sleep(600)").await.map(drop)
    });
    drop_when(database.wait_until_asleep(), long).await;
    database.assert_nothing_leaked(&pool).await;
}

/// A future may be dropped outside a runtime.
#[test]
fn wait_dropped_outside_a_runtime_leaves_the_queue() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Database::new());
    let pool = runtime.block_on(database.pool(2));
    let lock = AdvisoryLock::new("outside");
    let held = runtime.block_on(lock.begin(&pool)).unwrap();

    let mut waiter = Box::pin(lock.begin(&pool));
    runtime.block_on(database.drop_when_waiting(waiter.as_mut()));
    drop(waiter);
    runtime.block_on(database.wait_until_waiting(0));
    runtime.block_on(held.rollback()).unwrap();
    runtime.block_on(database.assert_nothing_leaked(&pool));
}
