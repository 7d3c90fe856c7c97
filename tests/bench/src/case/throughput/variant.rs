//! The variants: who runs the locks, and with which statements.

use std::sync::Arc;

use advisory_core::{AdvisoryLock, Error, Key, lock, unlock};
use advisory_tests::{Database, Proxy};
use futures_util::future::BoxFuture;
use sqlx::PgPool;
use sqlx::postgres::PgConnection;

use crate::by_hand;
use crate::endpoint::Endpoint;
use crate::pgbench::Script;

/// Takes one lock and releases it.
pub(super) type Work = fn(Arc<Connections>, i64) -> BoxFuture<'static, ()>;

/// An empty statement, which stands for the ping with which sqlx's pool takes a connection back.
const PING: &str = "";

/// The connections of a task.
pub(super) struct Connections {
    pub(super) pool: PgPool,
    pub(super) conn: tokio::sync::Mutex<PgConnection>,
}

/// A variant, and the index of the variant with the same statements.
pub(super) struct Variant {
    pub(super) name: &'static str,
    pub(super) runner: Runner,
    pub(super) reference: Option<usize>,
}

pub(super) enum Runner {
    InProcess(Work),
    Pgbench(Script),
}

pub(super) async fn all(database: &Database) -> Vec<Variant> {
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
    let variant = |name, runner, reference| Variant {
        name,
        runner,
        reference,
    };
    vec![
        variant("`transaction`", Runner::InProcess(transaction), Some(1)),
        variant(
            "pgbench: the messages of `transaction`, and a ping",
            Runner::Pgbench(messages(database).await),
            None,
        ),
        variant(
            "by hand: begin, lock, commit",
            Runner::InProcess(by_hand_on),
            Some(3),
        ),
        variant(
            "pgbench: begin, lock, commit, and a ping",
            Runner::Pgbench(Script::prepared(&by_hand)),
            None,
        ),
        variant(
            "`lock`, `unlock` on a connection",
            Runner::InProcess(functions_on),
            Some(5),
        ),
        variant(
            "pgbench: lock, unlock",
            Runner::Pgbench(Script::prepared(&functions)),
            None,
        ),
    ]
}

/// The messages of `transaction`, recorded by a proxy, with a variable for the key.
async fn messages(database: &Database) -> Script {
    const KEY: i64 = 123_456_789_012;
    let proxy = Proxy::start(database).await;
    let pool = Endpoint(proxy.options()).pool_of(1, false).await;
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

fn transaction(task_connections: Arc<Connections>, key: i64) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let lock = AdvisoryLock::new(key);
        let done = lock.transaction(&task_connections.pool, async |_| Ok::<_, Error>(()));
        done.await.expect("the lock is free");
    })
}

fn by_hand_on(task_connections: Arc<Connections>, key: i64) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let done = by_hand::transaction(task_connections.pool.clone(), key).await;
        done.expect("the lock is free");
    })
}

fn functions_on(task_connections: Arc<Connections>, key: i64) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = task_connections.conn.lock().await;
        let locked = lock(&mut *conn, Key::from(key)).await;
        locked.expect("the lock is free");
        let unlocked = unlock(&mut *conn, Key::from(key)).await;
        assert!(unlocked.expect("the server answers"), "it was held");
    })
}
