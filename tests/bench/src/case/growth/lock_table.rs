//! The lock table of the server: its capacity and its memory.

use advisory_tests::{Database, Server, scalar};
use sqlx::Executor as _;
use sqlx::postgres::PgConnection;
use tokio::task::block_in_place;

use crate::Bench;
use crate::report::Part;
use crate::sample::{thousands, three_digits};

/// The lock table of a server with these settings.
struct Filled {
    settings: [u32; 3],
    formula: f64,
    held: f64,
    shared: f64,
}

/// Fills the lock tables of servers with several settings, and determines their capacity.
pub(super) async fn fill_several(bench: &Bench) -> Part {
    let mut all = Vec::new();
    for settings in [[64, 100, 0], [64, 200, 0], [256, 100, 0]] {
        bench.set_progress(&format!("growth: filling a lock table of {settings:?}"));
        let filled = fill(settings).await;
        all.push(filled);
    }
    let per = |more: &Filled, less: &Filled, of: f64| (more.shared - less.shared) / of;
    let lock = per(&all[2], &all[0], all[2].formula - all[0].formula);
    let connection = per(&all[1], &all[0], 100.0);
    let shown = |filled: &Filled| {
        let [locks, connections, _] = filled.settings;
        format!(
            "With `max_locks_per_transaction = {locks}` and `max_connections = {connections}`, the formula gives {}, and the \
             table was full with {}.",
            thousands(filled.formula),
            thousands(filled.held),
        )
    };
    let text = format!(
        "{} {} The entry of a lock takes {} bytes of shared memory, which the server reserves when it starts. Each connection \
         in `max_connections` takes {} kB, including its share of the lock table.",
        shown(&all[0]),
        shown(&all[2]),
        thousands(lock),
        three_digits(connection / 1e3),
    );
    Part::text("growth-table", text)
}

async fn fill(settings: [u32; 3]) -> Filled {
    let [locks, connections, prepared] = settings.map(|value| value.to_string());
    let settings_of_server = [
        ("max_locks_per_transaction", &*locks),
        ("max_connections", &connections),
        ("max_prepared_transactions", &prepared),
        // Autovacuum takes locks at random times.
        ("autovacuum", "off"),
    ];
    let server = block_in_place(|| Server::start_with(&settings_of_server));
    let server = server.expect("a server starts with these settings");
    let database = Database::on(&server).await;
    let mut conn = database.connection().await;
    let shared = "SELECT sum(allocated_size)::float8 FROM pg_shmem_allocations";
    let shared = scalar(&mut conn, shared).await;
    let [locks, connections, prepared] = settings.map(f64::from);
    Filled {
        settings,
        formula: locks * (connections + prepared),
        held: hold_all(&mut conn).await,
        shared,
    }
}

/// Takes session locks until the lock table is full, and returns their number.
async fn hold_all(conn: &mut PgConnection) -> f64 {
    // Session locks remain when their statement fails.
    let more = "SELECT pg_advisory_lock(n) FROM generate_series(1, 1000000) AS n";
    let full = conn
        .execute(more)
        .await
        .expect_err("a lock table has a capacity");
    let error = full.as_database_error();
    let code = error.and_then(sqlx::error::DatabaseError::code);
    assert_eq!(code.as_deref(), Some("53200"), "{full}");
    let held = "SELECT count(*)::float8 FROM pg_locks WHERE locktype = 'advisory'";
    conn.execute("SELECT pg_advisory_unlock(n) FROM generate_series(1, 50) AS n")
        .await
        .expect("there is memory to unlock");
    scalar::<f64>(conn, held).await + 50.0
}
