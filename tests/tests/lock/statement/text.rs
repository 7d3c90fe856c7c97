//! The text of our statements is constant: `pg_stat_statements` has no entry for each key. The name
//! of a lock is shown in a comment, which belongs to no statement.

use std::collections::BTreeSet;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Isolation, Key, monitor};
use advisory_tests::{Database, Server, by_depth};
use advisory_verbs::{Verb, with_connection};
use sqlx::{Executor as _, PgPool};

/// A server with the extension; `None` where it is not installed.
async fn server() -> Option<Server> {
    let settings = &[("shared_preload_libraries", "pg_stat_statements")];
    let start = || Server::start_with(settings);
    let started = tokio::task::spawn_blocking(start).await.unwrap();
    started
        .inspect_err(|error| println!("skipped: {error}"))
        .ok()
}

/// Every verb and every function, with locks on keys that depend on `n`.
async fn use_locks(pool: &PgPool, n: i32) -> Result<(), Error> {
    let one = AdvisoryLock::new(format!("key {n}"));
    let pair = AdvisoryLock::new((n, -n));
    let several = AdvisoryLock::all([Key::from(n), Key::from(i64::from(n) << 40), (n, 7).into()]);
    // Several keys in one space only, and of other lengths.
    let bigints = AdvisoryLock::all((0..=n % 3 + 1).map(|k| i64::from(1000 * n + k)));
    for lock in [one, pair, several, bigints] {
        let timeout = Duration::from_secs(60 + u64::from(n.unsigned_abs()));
        let timed = lock.clone().timeout(timeout);
        let tagged = timed.clone().tag_statement();
        for lock in [lock.clone(), lock.clone().shared(), timed.clone(), tagged] {
            for verb in Verb::ALL {
                assert!(verb.ask(&lock, pool).await?, "{verb}");
            }
            let mut tx = pool.begin().await?;
            lock.clone().cancel_via(pool).acquire_xact(&mut tx).await?;
            tx.commit().await?;
        }
        for verb in Verb::all(Verb::takes_isolation) {
            let isolated = lock.clone().isolation(Isolation::Serializable);
            assert!(verb.ask(&isolated, pool).await?, "{verb}");
        }
        // Refused, and asked who holds it.
        let held = lock.begin(pool).await?;
        let brief = lock.clone().timeout(Duration::from_millis(10));
        for limit in [brief.clone(), brief.timeout(Duration::ZERO)] {
            for verb in Verb::all(Verb::is_of_lock) {
                verb.assert_refused(&limit, pool).await;
            }
            let mut tx = pool.begin().await?;
            let refused = limit.cancel_via(pool).acquire_xact(&mut tx).await;
            assert!(refused.unwrap_err().is_not_acquired());
        }
        held.commit().await?;
        monitor::holders(pool, lock.keys()[0]).await?;
    }
    Ok(())
}

async fn statements(pool: &PgPool) -> BTreeSet<String> {
    // Without the numbers of parameters, which depend on what came first.
    let query =
        "SELECT DISTINCT query FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_statements%'";
    let texts: Vec<String> = sqlx::query_scalar(query).fetch_all(pool).await.unwrap();
    texts.into_iter().collect()
}

#[tokio::test]
async fn other_keys_make_no_other_statements() {
    let Some(server) = server().await else {
        return;
    };
    let database = Database::on(&server).await;
    let pool = database.pool(3).await;
    pool.execute("CREATE EXTENSION pg_stat_statements")
        .await
        .unwrap();
    for n in 1..=3 {
        use_locks(&pool, n).await.unwrap();
    }
    let mut known = statements(&pool).await;
    // A statement that is seldom sent may come late. One for each key would come every time.
    let (mut quiet, wanted) = (0, by_depth(1, 6));
    for n in 4..by_depth(10, 16) {
        use_locks(&pool, n).await.unwrap();
        let all = statements(&pool).await;
        let new: Vec<_> = all.difference(&known).collect();
        println!("{} new statements: {new:#?}", new.len());
        quiet += usize::from(new.is_empty());
        if quiet == wanted {
            return;
        }
        known = all;
    }
    panic!("{quiet} times without new statements, and not {wanted}");
}

fn tags(verb: Verb) -> bool {
    verb.is_of_lock()
}

#[tokio::test]
async fn tagged_wait_shows_the_name_of_its_lock() {
    let database = Database::new().await;
    let pool = database.pool(2).await;
    let several = AdvisoryLock::all(["sync(4)", "two"]);
    let one = AdvisoryLock::new("sync(4)");
    let isolated = one.clone().isolation(Isolation::RepeatableRead);
    let isolated = Verb::all(Verb::takes_isolation).map(|verb| (verb, isolated.clone()));
    let locks = [(one.clone(), "sync(4)"), (several.clone(), "sync(4), two")];
    let waits =
        Verb::all(tags).flat_map(|verb| locks.clone().map(|(lock, name)| (verb, lock, name)));
    let isolated = isolated.map(|(verb, lock)| (verb, lock, "sync(4)"));
    let rival = database.pool(1).await;
    for (verb, lock, name) in waits.chain(isolated) {
        let held = several.begin(&rival).await.unwrap();
        let lock = lock.wait_forever().tag_statement();
        let asked = tokio::spawn(verb.ask(&lock, &pool));
        database.wait_until_waiting(1).await;
        let tag = format!(": {name} */;");
        let backends = database.backends().await;
        assert!(
            backends.iter().any(|backend| backend.query.contains(&tag)),
            "{verb}: {backends:#?}"
        );
        held.rollback().await.unwrap();
        assert!(asked.await.unwrap().unwrap(), "{verb}");
    }
}

#[tokio::test]
async fn tag_of_any_name_is_only_a_comment() {
    let database = Database::new().await;
    let pool = database.pool(2).await;
    let long = "ü/*".repeat(400);
    let names = [
        "*/ SELECT 1/0; /*",
        "/* /* */",
        "--\n\0\r\u{1b}[31m\u{202e}",
        "it's $1 ? :a \\' E'\\' %s \"$$\"",
        "東京",
        "",
        &long,
    ];
    for name in names {
        for verb in Verb::all(tags) {
            let lock = AdvisoryLock::new(name).timeout(Duration::from_mins(1));
            let asked = verb.ask(&lock.tag_statement(), &pool).await;
            assert!(asked.unwrap_or_else(|error| panic!("{verb}, {name:?}: {error}")));
        }
    }
    database.assert_nothing_leaked(&pool).await;
}

/// Names come from users.
#[tokio::test]
async fn names_in_errors_stay_in_their_line() {
    let (database, pool) = Database::with_pool(2).await;
    let lock = AdvisoryLock::new("a\nb\u{1b}[31m\u{202e}c").timeout(Duration::from_millis(10));
    let held = lock.begin(&pool).await.unwrap();
    let refused = with_connection(async || lock.acquire(&pool).await).await;
    let error = refused.unwrap_err();
    let text = error.to_string();
    assert!(
        error.is_not_acquired() && text.contains("`a\\nb\\u{1b}[31m\\u{202e}c`"),
        "{text}"
    );
    assert!(!text.contains(char::is_control), "{text:?}");
    held.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}
