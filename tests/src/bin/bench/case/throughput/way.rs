//! Who runs, and what.

use std::sync::Arc;

use advisory_core::{AdvisoryLock, Error, Key, lock, unlock};
use advisory_tests::{Database, Proxy};
use futures_util::future::BoxFuture;
use sqlx::PgPool;
use sqlx::postgres::PgConnection;

use crate::by_hand;
use crate::pgbench::Script;
use crate::place::Place;

/// Takes one lock and releases it.
pub(super) type Work = fn(Arc<Hands>, i64) -> BoxFuture<'static, ()>;

/// What stands for the ping with which sqlx's pool takes a connection back: a round trip in which nothing is done.
const PING: &str = "";

/// What a task works with.
pub(super) struct Hands {
    pub(super) pool: PgPool,
    pub(super) conn: tokio::sync::Mutex<PgConnection>,
}

/// Who runs, and the row with the same statements.
pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) runner: Runner,
    pub(super) same_as: Option<usize>,
}

pub(super) enum Runner {
    Here(Work),
    Pgbench(Script),
}

pub(super) async fn all(database: &Database) -> Vec<Way> {
    let functions = [
        "SELECT pg_catalog.pg_advisory_lock(:key)",
        "SELECT pg_catalog.pg_advisory_unlock(:key)",
    ];
    let by_hand = [
        "BEGIN",
        "SELECT pg_advisory_xact_lock(:key)",
        "COMMIT",
        PING,
    ];
    let way = |name, runner, same_as| Way {
        name,
        runner,
        same_as,
    };
    vec![
        way("`transaction`", Runner::Here(transaction), Some(1)),
        way(
            "pgbench, the messages of `transaction` and a ping",
            Runner::Pgbench(messages(database).await),
            None,
        ),
        way(
            "by hand: begin, lock, commit",
            Runner::Here(by_hand_on),
            Some(3),
        ),
        way(
            "pgbench, begin, lock, commit and a ping",
            Runner::Pgbench(Script::prepared(&by_hand)),
            None,
        ),
        way(
            "`lock`, `unlock` on a connection",
            Runner::Here(functions_on),
            Some(5),
        ),
        way(
            "pgbench, lock, unlock",
            Runner::Pgbench(Script::prepared(&functions)),
            None,
        ),
    ]
}

/// What `transaction` sends, read off the wire, with a variable for the key.
async fn messages(database: &Database) -> Script {
    const KEY: i64 = 123_456_789_012;
    let proxy = Proxy::start(database).await;
    let pool = Place(proxy.options()).pool_of(1, false).await;
    let lock = AdvisoryLock::new(KEY);
    for _ in 0..2 {
        proxy.reset();
        let done = lock.transaction(&pool, async |_| Ok::<_, Error>(()));
        done.await.expect("the lock is free");
    }
    let messages = proxy
        .messages()
        .into_iter()
        .filter_map(|message| message.sql);
    let messages = messages.map(|sql| sql.replace(&KEY.to_string(), ":key"));
    Script::messages(messages.chain([PING.to_owned()]))
}

fn transaction(hands: Arc<Hands>, key: i64) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let lock = AdvisoryLock::new(key);
        let done = lock.transaction(&hands.pool, async |_| Ok::<_, Error>(()));
        done.await.expect("the lock is free");
    })
}

fn by_hand_on(hands: Arc<Hands>, key: i64) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let done = by_hand::transaction(&hands.pool, key).await;
        done.expect("the lock is free");
    })
}

fn functions_on(hands: Arc<Hands>, key: i64) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = hands.conn.lock().await;
        let locked = lock(&mut *conn, Key::from(key)).await;
        locked.expect("the lock is free");
        let unlocked = unlock(&mut *conn, Key::from(key)).await;
        assert!(unlocked.expect("the server answers"), "it was held");
    })
}
