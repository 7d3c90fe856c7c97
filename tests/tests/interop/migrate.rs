//! The locks of migration tools, which the crate knows by their keys.

use advisory_core::{Key, known};
use advisory_tests::Database;
use advisory_tests::foreign_client::{self, ForeignClient};
use serde_json::json;
use sqlx::migrate::Migrate as _;

use crate::oracle::{LockClient as _, Oracle, print_notice};

/// The lock on which the migrations of all these tools wait, so that a test can stop them.
const GATE: Key = Key::IntPair(1, 1);

/// The key of a known owner in this database. The reverse lookup is asserted as well.
fn key_of(label: &str, database: &Database) -> Key {
    let known = known::all().iter().find(|known| known.label == label);
    let known = known.unwrap_or_else(|| panic!("{label} is known"));
    let key = known.key(Some(database.name())).unwrap();
    let owner = known::owner(key, Some(database.name())).unwrap();
    assert_eq!(owner.label, label);
    key
}

/// What a tool does if we hold its lock.
enum Blocked {
    Waits,
    Fails(&'static str),
    /// Polls with this statement.
    Polls(&'static str),
}

#[tokio::test]
async fn npm_migration_tools_lock_the_known_keys() {
    let Some(node) = foreign_client::node() else {
        return;
    };
    let polling = "SELECT pg_try_advisory_lock(-8525285245963000605)";
    for (package, label, blocked) in [
        ("Kysely", "Kysely migrations", Blocked::Waits),
        (
            "NodePgMigrate",
            "node-pg-migrate",
            Blocked::Fails("already running"),
        ),
        (
            "PostgresMigrations",
            "postgres-migrations",
            Blocked::Polls(polling),
        ),
        ("PgBoss9", "pg-boss 9", Blocked::Waits),
        ("PgBoss10", "pg-boss", Blocked::Waits),
    ] {
        let database = Database::new().await;
        let mut tool = ForeignClient::start(&node, package, &database).await;
        if package == "PgBoss10" && tool.runtime.starts_with("Node.js 18.") {
            print_notice(&format!(
                "SKIPPED {}: it needs a later version",
                tool.describe()
            ));
            continue;
        }
        let key = key_of(label, &database);
        assert_holds_while_migrating(&mut tool, key, &database).await;
        assert_blocked(&mut tool, key, &database, &blocked).await;
        let tool = tool.describe();
        print_notice(&format!(
            "{label} = {tool}: its lock is {key} in {}",
            database.name()
        ));
    }
}

/// Asserts that a tool holds the lock while it migrates.
async fn assert_holds_while_migrating(tool: &mut ForeignClient, key: Key, database: &Database) {
    let oracle = Oracle::new(database).await;
    let gate = oracle.hold(GATE).await;
    tool.send(json!({"do": "migrate"})).await;
    database.wait_until_waiting(1).await;
    let locks = database.advisory_locks().await;
    let (classid, objid, objsubid) = key.to_pg_locks();
    let is_key = |lock: &&advisory_tests::LockRow| {
        lock.granted && (lock.classid, lock.objid, lock.objsubid) == (classid, objid, objsubid)
    };
    assert_eq!(locks.iter().filter(is_key).count(), 1, "{locks:?}");
    oracle.assert_taken(key).await;
    gate.release().await.unwrap();
    tool.receive().await.unwrap();
}

/// Asserts that a tool does not migrate while we hold the lock.
async fn assert_blocked(
    tool: &mut ForeignClient,
    key: Key,
    database: &Database,
    blocked: &Blocked,
) {
    let oracle = Oracle::new(database).await;
    let ours = oracle.hold(key).await;
    tool.send(json!({"do": "migrate"})).await;
    match blocked {
        Blocked::Waits => database.wait_until_waiting(1).await,
        Blocked::Fails(message) => {
            let error = tool.receive().await.unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        Blocked::Polls(statement) => {
            let polls = |query: &str| query.starts_with(statement);
            database
                .wait_until_backends("polls", |backends| {
                    backends.iter().any(|backend| polls(&backend.query))
                })
                .await;
        }
    }
    ours.release().await.unwrap();
    if let Blocked::Fails(_) = blocked {
        tool.send(json!({"do": "migrate"})).await;
    }
    tool.receive().await.unwrap();
}

/// Suffixes of database names. The server truncates names at 63 bytes, and the harness adds a
/// prefix.
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
async fn sqlx_and_rails_derive_keys_from_the_database_name() {
    let ruby = foreign_client::ruby();
    for suffix in DATABASES {
        let database = Database::named(suffix).await;
        sqlx_migrates(&database).await;
        if let Some(ruby) = &ruby {
            let rails = ForeignClient::start(ruby, "RailsMigrations", &database).await;
            rails_migrates(rails, &database).await;
        }
    }
    let count = DATABASES.len();
    print_notice(&format!(
        "sqlx migrate: locked both ways in {count} databases"
    ));
    if let Some(ruby) = &ruby {
        let database = Database::new().await;
        let rails = ForeignClient::start(ruby, "RailsMigrations", &database).await;
        print_notice(&format!(
            "Rails migrations = {}: locked both ways in {count} databases",
            rails.describe()
        ));
    }
}

async fn sqlx_migrates(database: &Database) {
    let oracle = Oracle::new(database).await;
    let key = key_of("sqlx migrate", database);
    let mut connection = database.connection().await;
    connection.lock().await.unwrap();
    oracle.assert_held(database.name(), key).await;
    connection.unlock().await.unwrap();
    let ours = oracle.hold(key).await;
    let waits = tokio::spawn(async move { connection.lock().await });
    database.wait_until_waiting(1).await;
    ours.release().await.unwrap();
    waits.await.unwrap().unwrap(); // the lock is released with the connection
    database.wait_until_held(0).await;
}

async fn rails_migrates(mut rails: ForeignClient, database: &Database) {
    let oracle = Oracle::new(database).await;
    let key = key_of("Rails migrations", database);
    let name = database.name();
    assert_eq!(rails.try_lock(name).await, Ok(true));
    oracle.assert_held(name, key).await;
    rails.free(name).await;
    let ours = oracle.hold(key).await;
    assert_eq!(rails.try_lock(name).await, Ok(false));
    ours.release().await.unwrap();
}
