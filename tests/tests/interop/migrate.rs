//! Migration tools, whose locks are known.

use advisory_core::{Key, known};
use advisory_tests::Database;
use advisory_tests::original::{self, Original};
use serde_json::json;
use sqlx::migrate::Migrate as _;

use crate::judge::{Judge, Other as _, tell};

/// The lock on which each of these originals' migrations waits.
const GATE: Key = Key::IntPair(1, 1);

/// The key of this owner in this database, by which it is found again.
fn key_of(label: &str, database: &Database) -> Key {
    let known = known::all().iter().find(|known| known.label == label);
    let known = known.unwrap_or_else(|| panic!("{label} is known"));
    let key = known.key(Some(database.name())).unwrap();
    let owner = known::owner(key, Some(database.name())).unwrap();
    assert_eq!(owner.label, label);
    key
}

/// What a tool does that finds its lock held by us.
enum Then {
    Waits,
    Fails(&'static str),
    /// Asks again and again with this statement.
    Polls(&'static str),
}

#[tokio::test]
async fn npms_migration_tools_take_the_keys_that_are_known() {
    let Some(node) = original::node() else {
        return;
    };
    let polling = "SELECT pg_try_advisory_lock(-8525285245963000605)";
    for (original, label, then) in [
        ("Kysely", "Kysely migrations", Then::Waits),
        (
            "NodePgMigrate",
            "node-pg-migrate",
            Then::Fails("already running"),
        ),
        (
            "PostgresMigrations",
            "postgres-migrations",
            Then::Polls(polling),
        ),
        ("PgBoss9", "pg-boss 9", Then::Waits),
        ("PgBoss10", "pg-boss", Then::Waits),
    ] {
        let database = Database::new().await;
        let mut tool = Original::start(&node, original, &database).await;
        if original == "PgBoss10" && tool.runtime.starts_with("Node.js 18.") {
            tell(&format!(
                "SKIPPED {}: it needs a later one",
                tool.describe()
            ));
            continue;
        }
        let key = key_of(label, &database);
        holds(&mut tool, key, &database).await;
        waits(&mut tool, key, &database, &then).await;
        let tool = tool.describe();
        tell(&format!(
            "{label} = {tool}: its lock is {key} in {}",
            database.name()
        ));
    }
}

/// While it migrates, it holds the lock.
async fn holds(tool: &mut Original, key: Key, database: &Database) {
    let judge = Judge::new(database).await;
    let gate = judge.hold(GATE).await;
    tool.send(json!({"do": "migrate"})).await;
    database.wait_until_waiting(1).await;
    let locks = database.advisory_locks().await;
    let (classid, objid, objsubid) = key.to_pg_locks();
    let is_it = |lock: &&advisory_tests::LockRow| {
        lock.granted && (lock.classid, lock.objid, lock.objsubid) == (classid, objid, objsubid)
    };
    assert_eq!(locks.iter().filter(is_it).count(), 1, "{locks:?}");
    judge.is_taken(key).await;
    gate.release().await.unwrap();
    tool.answer().await.unwrap();
}

/// While we hold the lock, it does not migrate.
async fn waits(tool: &mut Original, key: Key, database: &Database, then: &Then) {
    let judge = Judge::new(database).await;
    let ours = judge.hold(key).await;
    tool.send(json!({"do": "migrate"})).await;
    match then {
        Then::Waits => database.wait_until_waiting(1).await,
        Then::Fails(message) => {
            let error = tool.answer().await.unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        Then::Polls(statement) => {
            let polls = |query: &str| query.starts_with(statement);
            database
                .wait_until_backends("polls", |backends| {
                    backends.iter().any(|backend| polls(&backend.query))
                })
                .await;
        }
    }
    ours.release().await.unwrap();
    if let Then::Fails(_) = then {
        tool.send(json!({"do": "migrate"})).await;
    }
    tool.answer().await.unwrap();
}

/// Names of databases; the server cuts them at 63 bytes, of which the harness takes some.
const DATABASES: [&str; 8] = [
    "foo",
    "ключ",
    "nine char",
    "ten chars.",
    "seventeen chars17",
    "0123456789abcdef",
    "00000001,0000000a",
    "it's \"quoted\" %s",
];

#[tokio::test]
async fn sqlx_and_rails_take_the_keys_that_follow_from_a_database() {
    let ruby = original::ruby();
    for end in DATABASES {
        let database = Database::named(end).await;
        sqlx_migrates(&database).await;
        if let Some(ruby) = &ruby {
            let rails = Original::start(ruby, "RailsMigrations", &database).await;
            rails_migrates(rails, &database).await;
        }
    }
    let count = DATABASES.len();
    tell(&format!(
        "sqlx migrate: locked both ways in {count} databases"
    ));
    if let Some(ruby) = &ruby {
        let database = Database::new().await;
        let rails = Original::start(ruby, "RailsMigrations", &database).await;
        tell(&format!(
            "Rails migrations = {}: locked both ways in {count} databases",
            rails.describe()
        ));
    }
}

async fn sqlx_migrates(database: &Database) {
    let judge = Judge::new(database).await;
    let key = key_of("sqlx migrate", database);
    let mut connection = database.connection().await;
    connection.lock().await.unwrap();
    judge.is_held(database.name(), key).await;
    connection.unlock().await.unwrap();
    let ours = judge.hold(key).await;
    let waits = tokio::spawn(async move { connection.lock().await });
    database.wait_until_waiting(1).await;
    ours.release().await.unwrap();
    waits.await.unwrap().unwrap(); // and lets go with its connection
    database.wait_until_held(0).await;
}

async fn rails_migrates(mut rails: Original, database: &Database) {
    let judge = Judge::new(database).await;
    let key = key_of("Rails migrations", database);
    let name = database.name();
    assert_eq!(rails.try_lock(name).await, Ok(true));
    judge.is_held(name, key).await;
    rails.free(name).await;
    let ours = judge.hold(key).await;
    assert_eq!(rails.try_lock(name).await, Ok(false));
    ours.release().await.unwrap();
}
