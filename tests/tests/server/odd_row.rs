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

#[tokio::test]
async fn text_in_the_encoding_of_another_database_is_shown_as_far_as_it_is_readable() {
    let database = Database::new().await;
    let pool = database.pool(1).await;
    let latin = format!("{}_latin", database.name());
    let create = format!(
        "CREATE DATABASE \"{latin}\" ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    );
    pool.execute(AssertSqlSafe(create)).await.unwrap();
    let options = database.options().database(&latin);
    let mut conn = PgConnection::connect_with(&options).await.unwrap();
    // The server keeps the text of the statement in the encoding of its database.
    conn.execute("SELECT pg_advisory_lock(7) /* café */")
        .await
        .unwrap();
    let locks = monitor::locks_of_all_databases(&pool).await.unwrap();
    let lock = locks.iter().find(|lock| lock.database == latin).unwrap();
    let query = lock.query.as_deref().unwrap();
    assert_eq!(query, "SELECT pg_advisory_lock(7) /* caf\u{fffd} */");
    conn.close().await.unwrap();
    let drop = format!("DROP DATABASE \"{latin}\" WITH (FORCE)");
    pool.execute(AssertSqlSafe(drop)).await.unwrap();
}

/// The server refuses to convert what is no text in the encoding of the database. In `SQL_ASCII`,
/// that can be a database's own text.
#[tokio::test]
async fn database_in_another_encoding_is_monitored() {
    // Its last letter is cut in half, unless the server knows letters: it keeps 1,023 bytes.
    let long = format!("SELECT pg_advisory_lock(7) /* {} */", "é".repeat(1000));
    let cut = format!("SELECT pg_advisory_lock(7) /* {}\u{fffd}", "é".repeat(496));
    let western = "SELECT pg_advisory_lock(7) /* é \\ */";
    let japanese = "SELECT pg_advisory_lock(7) /* あ \\ */";
    for (encoding, own, shown) in [
        ("SQL_ASCII", &*long, &*cut),
        ("LATIN1", western, western),
        ("WIN1252", western, western),
        ("EUC_JP", japanese, japanese),
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
        let everywhere = monitor::locks_of_all_databases(&mut observer).await;
        let everywhere = everywhere.unwrap();
        let other = everywhere
            .iter()
            .find(|lock| lock.database == database.name());
        assert_eq!(other.unwrap().query.as_deref(), Some(foreign), "{encoding}");
        holder.close().await.unwrap();
        observer.close().await.unwrap();
        database
            .execute(format!("DROP DATABASE \"{name}\" WITH (FORCE)"))
            .await;
    }
}
