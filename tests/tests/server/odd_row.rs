//! One odd row on the server never breaks a list.

use advisory_core::{AdvisoryLock, Mode, monitor};
use advisory_tests::Database;
use advisory_verbs::with_connection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// Adds a row to the view, as an extension that takes advisory locks with a fourth field of its own
/// would: `objsubid` is 10 in `pg_auto_failover`, 4 and 5 in Citus, 29749 in `TimescaleDB`.
async fn add_extension_lock(conn: &mut PgConnection, objsubid: i16) {
    let view = format!(
        "SET allow_system_table_mods = on; \
         CREATE OR REPLACE VIEW pg_catalog.pg_locks AS \
         SELECT l.* FROM pg_catalog.pg_lock_status() AS l UNION ALL \
         SELECT 'advisory', d.oid, NULL, NULL, NULL, NULL, NULL, 43::oid, 7::oid, {objsubid}::int2, \
         '5/5', pg_catalog.pg_backend_pid(), 'ShareUpdateExclusiveLock', true, false, NULL \
         FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()"
    );
    conn.execute(AssertSqlSafe(view)).await.unwrap();
}

#[tokio::test]
async fn locks_of_extensions_are_left_out_of_every_list() {
    let database = Database::new().await;
    let pool = database.pool(3).await;
    let mut conn = database.connection().await;
    for objsubid in [0, 4, 5, 10, 29749] {
        add_extension_lock(&mut conn, objsubid).await;
        let held = AdvisoryLock::new("one").begin(&pool).await.unwrap();
        for locks in [
            monitor::locks(&pool).await.unwrap(),
            monitor::locks_of_all_databases(&pool).await.unwrap(),
            monitor::holders(&pool, "one").await.unwrap(),
        ] {
            let of_this_database = locks.iter().filter(|lock| lock.database == database.name());
            let keys: Vec<_> = of_this_database.map(|lock| (lock.key, lock.mode)).collect();
            assert_eq!(keys, [("one".into(), Mode::Exclusive)], "{objsubid}");
        }
        assert!(monitor::waiters(&pool, "one").await.unwrap().is_empty());
        let refused = AdvisoryLock::new("one").timeout(std::time::Duration::from_millis(20));
        let refused = with_connection(async || refused.begin(&pool).await).await;
        let refused = refused.unwrap_err();
        assert!(refused.is_not_acquired(), "{refused}");
        held.rollback().await.unwrap();
    }
}

/// The statement of the session that holds a lock in this database, as another session sees it.
async fn statement_in(database: &str, observer: &mut PgConnection) -> String {
    let locks = monitor::locks_of_all_databases(observer).await.unwrap();
    let mut locks = locks.into_iter();
    let lock = locks.find(|lock| lock.database == database);
    lock.unwrap().query.unwrap()
}

/// The server refuses to convert what is no text in the encoding of the database. In `SQL_ASCII`,
/// that can be a database's own text. From another database, the text is shown as far as it is
/// readable.
#[tokio::test]
async fn database_in_another_encoding_is_monitored() {
    // Its last letter is cut in half, unless the server knows letters: it keeps 1,023 bytes.
    let long = format!("SELECT pg_advisory_lock(7) /* {} */", "é".repeat(1000));
    let cut = format!("SELECT pg_advisory_lock(7) /* {}\u{fffd}", "é".repeat(496));
    let western = "SELECT pg_advisory_lock(7) /* é \\ */";
    let japanese = "SELECT pg_advisory_lock(7) /* あ \\ */";
    let one_byte = "SELECT pg_advisory_lock(7) /* \u{fffd} \\ */";
    let two_bytes = "SELECT pg_advisory_lock(7) /* \u{fffd}\u{fffd} \\ */";
    for (encoding, own, shown, shown_elsewhere) in [
        ("SQL_ASCII", &*long, &*cut, cut.trim_end_matches('\u{fffd}')),
        ("LATIN1", western, western, one_byte),
        ("WIN1252", western, western, one_byte),
        ("EUC_JP", japanese, japanese, two_bytes),
    ] {
        let database = Database::new().await;
        let name = format!("{}_{encoding}", database.name());
        let create = format!(
            "CREATE DATABASE \"{name}\" ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        );
        database.execute(create).await;
        let options = database.options().database(&name);
        let mut holder = PgConnection::connect_with(&options).await.unwrap();
        let mut observer = PgConnection::connect_with(&options).await.unwrap();
        holder.execute(AssertSqlSafe(own.to_owned())).await.unwrap();
        // No text in most encodings; and a backslash, which is special in the text of bytes.
        let foreign = "SELECT pg_advisory_lock(8) /* \\ é \u{81} ÿ */";
        let mut elsewhere = database.connection().await;
        elsewhere.execute(foreign).await.unwrap();

        let locks = monitor::locks(&mut observer).await.unwrap();
        assert_eq!(locks.len(), 1, "{encoding}");
        assert_eq!(locks[0].query.as_deref(), Some(shown), "{encoding}");
        assert_eq!(locks[0].database, name);
        assert_eq!(monitor::holders(&mut observer, 7).await.unwrap().len(), 1);
        assert_eq!(monitor::waiters(&mut observer, 7).await.unwrap(), []);
        let other = statement_in(database.name(), &mut observer).await;
        assert_eq!(other, foreign, "{encoding}");
        let own = statement_in(&name, &mut elsewhere).await;
        assert_eq!(own, shown_elsewhere, "{encoding}");
        holder.close().await.unwrap();
        observer.close().await.unwrap();
        database
            .execute(format!("DROP DATABASE \"{name}\" WITH (FORCE)"))
            .await;
    }
}
