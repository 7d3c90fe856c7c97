//! Who gets the next permit.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use advisory_core::Error;
use advisory_tests::Database;
use advisory_verbs::Verb;
use sqlx::PgPool;
use tokio::task::JoinSet;

use super::{lock, own_key, take, wait_until_queueing};

/// Calls of a verb for one of two permits, in the order in which they ask.
struct Queue {
    verb: Verb,
    waiters: JoinSet<Result<bool, Error>>,
    granted: Arc<Mutex<Vec<usize>>>,
}

impl Queue {
    fn new(verb: Verb) -> Self {
        Self {
            verb,
            waiters: JoinSet::new(),
            granted: Arc::default(),
        }
    }

    fn join(&mut self, pool: &PgPool) {
        let (number, granted) = (self.waiters.len(), self.granted.clone());
        let work = async move { granted.lock().unwrap().push(number) };
        let lock = lock(2).timeout(Duration::from_mins(1));
        self.waiters.spawn(self.verb.hold(&lock, pool, work));
    }

    async fn assert_granted_in_order(self) {
        let order: Vec<_> = (0..self.waiters.len()).collect();
        for granted in self.waiters.join_all().await {
            assert!(granted.unwrap(), "{}", self.verb);
        }
        assert_eq!(*self.granted.lock().unwrap(), order, "{}", self.verb);
    }
}

#[tokio::test]
async fn permits_are_granted_in_the_order_of_the_queue() {
    let database = Database::new().await;
    for verb in Verb::all(Verb::waits_in_statement).filter(|verb| verb.is_of_lock()) {
        println!("{verb}");
        let rivals = database.pool(3).await;
        let mut held = take(2, 2, &rivals).await;
        let mut queue = Queue::new(verb);
        for number in 0..5 {
            // A process of its own.
            queue.join(&database.pool(2).await);
            wait_until_queueing(&database, number + 1).await;
        }
        // Those who do not wait do not overtake.
        held.pop().unwrap().rollback().await.unwrap();
        queue.assert_granted_in_order().await;
        drop(held);
        database.assert_nothing_leaked(&rivals).await;
    }
}

/// In one process, and whichever permit becomes free.
#[tokio::test]
async fn tasks_of_one_process_get_each_permit_in_the_order_in_which_they_asked() {
    let database = Database::new().await;
    let rivals = database.pool(3).await;
    let first_slot = lock(2).keys()[0];
    for verb in Verb::all(Verb::is_on_pool).filter(|verb| verb.is_of_lock()) {
        for frees_first in [true, false] {
            let mut held = take(2, 2, &rivals).await;
            if (own_key(&mut held[0]).await == first_slot) == frees_first {
                held.swap(0, 1);
            }
            let pool = database.pool(4).await;
            let mut queue = Queue::new(verb);
            // This runtime polls them in this order.
            for _ in 0..5 {
                queue.join(&pool);
            }
            wait_until_queueing(&database, 1).await;
            held.pop().unwrap().rollback().await.unwrap();
            queue.assert_granted_in_order().await;
            drop(held);
            database.assert_nothing_leaked(&rivals).await;
        }
    }
}

/// The queue is that of the lock, whatever number of permits a call has: of three permits one is
/// free, and those who queue for two come first all the same.
#[tokio::test]
async fn a_try_is_refused_while_others_queue() {
    let (database, pool) = Database::with_pool(3).await;
    let rivals = database.pool(2).await;
    let held = take(2, 2, &rivals).await;
    let now = lock(3).timeout(Duration::ZERO);
    for verb in Verb::all(Verb::is_of_lock) {
        let free = verb.ask(&now, &pool).await;
        assert!(matches!(free, Ok(true)), "{verb}: {free:?}");
        let waiting = database.pool(1).await;
        let waiter = {
            let waiting = waiting.clone();
            tokio::spawn(async move { lock(2).begin(&waiting).await.map(drop) })
        };
        wait_until_queueing(&database, 1).await;
        verb.assert_refused(&now, &pool).await;
        waiter.abort();
        wait_until_queueing(&database, 0).await;
        let free = verb.ask(&now, &pool).await;
        assert!(matches!(free, Ok(true)), "{verb}: {free:?}");
    }
    drop(held);
    database.assert_nothing_leaked(&pool).await;
}
