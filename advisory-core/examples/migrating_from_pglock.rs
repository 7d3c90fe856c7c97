//! For users of django-pglock: each of its constructs, in Python, next to the one of this library.
//!
//! Where the meaning is the same, the name is the same. The differences are:
//!
//! - pglock takes a session lock unless `xact=True` is set. This library takes a transaction lock
//!   by default, because it cannot leak.
//! - pglock's default lock id of a function is `module.function`, and this library's default key is
//!   `module::function`. If a Python and a Rust program share a lock, set `key`.
//! - pglock hashes names with SHA-256, and this library with SHA-1. `scheme = Sha256` selects
//!   pglock's scheme.
//!
//! The example checks each construct against the server and prints a line for it.
//!
//! ```text
//! cargo run --example migrating_from_pglock
//! ```

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Key, advisory, lock, scheme, unlock};
use advisory_tests::Database;
use sqlx::PgPool;
use tokio::join;

/// Whether the lock is free at this moment.
async fn is_free(pool: &PgPool, lock: impl Into<AdvisoryLock>) -> Result<bool, Error> {
    match AdvisoryLock::new(lock).try_begin(pool).await? {
        Some(tx) => Ok(tx.rollback().await.map(|()| true)?),
        None => Ok(false),
    }
}

// @pglock.advisory("reports.rebuild")
// def rebuild():
//     ...
#[advisory(key = "reports.rebuild")]
async fn rebuild(pool: &PgPool) -> Result<(), Error> {
    assert!(!is_free(pool, "reports.rebuild").await?);
    Ok(())
}

// @pglock.advisory()
// def rebuild_all():
//     ...
#[advisory]
async fn rebuild_all(pool: &PgPool) -> Result<(), Error> {
    assert!(!is_free(pool, "migrating_from_pglock::rebuild_all").await?);
    Ok(())
}

// @pglock.advisory("reports.nightly", timeout=0, side_effect=pglock.Skip)
// def nightly():
//     return 42
#[advisory(key = "reports.nightly", timeout = 0, side_effect = Skip)]
async fn nightly(pool: &PgPool) -> Result<Option<u32>, Error> {
    Ok(Some(42))
}

// @pglock.advisory("reports.nightly", timeout=dt.timedelta(milliseconds=50))
// def nightly_or_raise():                   # side_effect=pglock.Raise, as for every decorator
//     return 42
#[advisory(key = "reports.nightly", timeout = Duration::from_millis(50))]
async fn nightly_or_raise(pool: &PgPool) -> Result<u32, Error> {
    Ok(42)
}

// @pglock.advisory("reports", shared=True)
// def read_report():
//     ...
#[advisory(key = "reports", shared)]
async fn read_report(pool: &PgPool) -> Result<(), Error> {
    assert!(!is_free(pool, "reports").await?);
    assert!(is_free(pool, AdvisoryLock::new("reports").shared()).await?);
    Ok(())
}

// @pglock.advisory("invoices")              # still in Python, while the function below is in Rust
#[advisory(key = "invoices", scheme = Sha256)]
async fn write_invoices(pool: &PgPool) -> Result<(), Error> {
    let pglock = AdvisoryLock::with_scheme("invoices", scheme::Sha256);
    assert!(!is_free(pool, pglock).await?);
    Ok(())
}

async fn decorators(pool: &PgPool) -> Result<(), Error> {
    rebuild(pool).await?;
    assert!(is_free(pool, "reports.rebuild").await?);
    println!("decorator with a lock id       key = \"…\"");

    rebuild_all(pool).await?;
    println!("decorator without a lock id    the path of the function");

    let holder = AdvisoryLock::new("reports.nightly").begin(pool).await?;
    assert_eq!(nightly(pool).await?, None);
    println!("timeout=0, Skip                timeout = 0, side_effect = Skip");

    let error = nightly_or_raise(pool).await.expect_err("the lock is held");
    assert!(error.is_not_acquired());
    println!("timedelta, Raise               timeout = Duration::from_millis(50)");
    println!("  … raises                     {error}");

    holder.rollback().await?;
    assert_eq!(nightly(pool).await?, Some(42));
    assert_eq!(nightly_or_raise(pool).await?, 42);

    read_report(pool).await?;
    println!("shared=True                    shared");

    write_invoices(pool).await?;
    let lock = AdvisoryLock::with_scheme("foo", scheme::Sha256);
    let pglock = Key::BigInt(-8_086_495_256_948_496_852); // pglock.advisory("foo").int_lock_id
    assert_eq!(lock.keys(), [pglock]);
    println!("the lock of a Python program   scheme = Sha256");
    Ok(())
}

async fn context_managers(database: &Database, pool: &PgPool) -> Result<(), Error> {
    let holder = AdvisoryLock::new("sync(4)").begin(pool).await?;

    // with pglock.advisory("sync(4)", timeout=0) as acquired:      # side_effect=pglock.Return
    //     if acquired:
    //         ...
    let sync = AdvisoryLock::new("sync(4)");
    let acquired = sync.try_transaction(pool, async |_tx| Ok::<_, Error>("synced"));
    assert_eq!(acquired.await?, None);
    println!("with …, timeout=0 as acquired  try_transaction, try_begin");

    // with pglock.advisory("sync(4)", timeout=0, side_effect=pglock.Raise):
    //     ...
    let immediate = sync.clone().timeout(Duration::ZERO);
    let refused = immediate.begin(pool).await.expect_err("the lock is held");
    assert!(refused.is_not_acquired());
    println!("with …, side_effect=Raise      transaction, begin");

    // with pglock.advisory("sync(4)", timeout=0.05) as acquired:
    //     ...
    let brief = sync.clone().timeout(Duration::from_millis(50));
    assert!(brief.try_begin(pool).await?.is_none());
    println!("with …, timeout=0.05           .timeout(Duration::from_millis(50))");

    // with pglock.advisory("sync(4)", timeout=None):
    //     ...
    let unlimited = sync.clone().wait_forever();
    let (acquired, released) = join!(
        unlimited.transaction(pool, async |_tx| Ok::<_, Error>("synced")),
        async {
            database.wait_until_waiting(1).await;
            holder.commit().await
        },
    );
    released?;
    assert_eq!(acquired?, "synced");
    println!("with …, timeout=None           .wait_forever()");

    // with pglock.advisory("sync(4)", shared=True):
    //     ...
    let shared = sync.shared();
    let (one, two) = (shared.begin(pool).await?, shared.begin(pool).await?);
    database.wait_until_held(2).await;
    one.commit().await?;
    two.commit().await?;
    println!("with …, shared=True            .shared()");
    Ok(())
}

async fn functions(pool: &PgPool) -> Result<(), Error> {
    // with transaction.atomic():
    //     pglock.advisory("order:7", xact=True).acquire()
    //     acquired = pglock.advisory("order:8", xact=True, timeout=0).acquire()
    let mut tx = pool.begin().await?;
    AdvisoryLock::new("order:7").acquire_xact(&mut tx).await?;
    let acquired = AdvisoryLock::new("order:8")
        .try_acquire_xact(&mut tx)
        .await?;
    assert!(acquired && !is_free(pool, "order:8").await?);
    tx.commit().await?;
    assert!(is_free(pool, "order:8").await?);
    println!("xact=True, acquire()           acquire_xact, try_acquire_xact");

    // pglock.advisory("order:7", xact=True).acquire()              # RuntimeError
    let mut conn = pool.acquire().await?;
    let outside = AdvisoryLock::new("order:7").acquire_xact(&mut conn).await;
    assert!(matches!(outside, Err(Error::NotInTransaction)));
    println!("  … outside a transaction      Error::NotInTransaction");

    // lock = pglock.advisory("order:7")
    // lock.acquire()
    // lock.release()
    lock(&mut conn, "order:7").await?;
    assert!(!is_free(pool, "order:7").await?);
    assert!(unlock(&mut conn, "order:7").await?);
    assert!(is_free(pool, "order:7").await?);
    println!("acquire(), release()           lock, unlock: a session lock, on one connection");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let database = Database::new().await; // on a private server, started for this example
    let pool = database.pool(5).await;
    decorators(&pool).await?;
    context_managers(&database, &pool).await?;
    functions(&pool).await?;
    database.assert_nothing_leaked(&pool).await;
    Ok(())
}
