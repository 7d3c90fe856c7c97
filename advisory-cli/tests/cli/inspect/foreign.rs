//! Advisory locks of extensions.

use advisory_tests::Database;
use sqlx::AssertSqlSafe;
use sqlx::Executor as _;

use crate::command::printed;
use crate::session::{holder, pid};

/// Adds rows to the view, as extensions that take advisory locks with a fourth field of their own
/// do.
async fn add_extension_locks(database: &Database) {
    let view = "SET allow_system_table_mods = on; \
         CREATE OR REPLACE VIEW pg_catalog.pg_locks AS \
         SELECT l.* FROM pg_catalog.pg_lock_status() AS l UNION ALL \
         SELECT 'advisory', d.oid, NULL, NULL, NULL, NULL, NULL, 43::oid, 7::oid, x::int2, \
         '5/5', pg_catalog.pg_backend_pid(), 'ShareUpdateExclusiveLock', true, false, NULL \
         FROM pg_catalog.pg_database AS d, pg_catalog.unnest(ARRAY[3, 4, 10, 29749]) AS x \
         WHERE d.datname = pg_catalog.current_database()";
    let mut conn = database.connection().await;
    conn.execute(AssertSqlSafe(view)).await.unwrap();
}

#[tokio::test]
async fn locks_of_extensions_are_shown_as_foreign_on_request_and_are_never_an_error() {
    let database = Database::new().await;
    add_extension_locks(&database).await;
    let empty = printed(&database, &["ls", "--all"]).await;
    assert!(
        empty.starts_with("nobody holds an advisory lock in "),
        "{empty}"
    );
    let mut holder = holder(&database, "ledger", 42).await;
    let pid = pid(&mut holder).await.to_string();
    for all in [
        &["ls", "--all"][..],
        &["ls", "--all-locks", "--all-databases"],
    ] {
        let text = printed(&database, all).await;
        let line = |word: &str| text.lines().find(|line| line.contains(word)).unwrap_or("");
        assert!(line("foreign locks").contains("extensions"), "{text}");
        for (extension, key) in [
            ("unknown", "[43,7,3]"),
            ("Citus", "[43,7,4]"),
            ("pg_auto_failover", "[43,7,10]"),
            ("TimescaleDB", "[43,7,29749]"),
        ] {
            assert!(line(key).contains(extension), "{text}");
        }
        assert!(line("ledger").contains("42"), "{text}");
    }
    for arguments in [
        &["ls"][..],
        &["ls", "--json", "--all"],
        &["ls", "--blocked", "--all"],
        &["tree"],
        &["explain", "--key", "42"],
        &["doctor"],
        &["terminate", &pid, "--yes"],
    ] {
        let text = printed(&database, arguments).await;
        assert!(!text.contains("foreign"), "{text}");
    }
}
