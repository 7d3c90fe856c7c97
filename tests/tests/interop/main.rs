//! The originals as judges: the lock packages of other languages, run against the harness's server, and the keys they take.
//!
//! A lock taken by the original is found held here under the scheme of that name, and the other way round; and their functions give
//! the same keys to random names. What is not to be had on this machine is skipped, and said so.

mod judge;
mod local;
mod migrate;
mod name;

use advisory_core::scheme::{Pals, WithAdvisoryLock};
use advisory_core::{Error, Key, KeyScheme, advisory, scheme};
use advisory_tests::Database;
use advisory_tests::original::{self, Original};
use sqlx::{Executor as _, PgPool};

use crate::judge::{Judge, Other as _, Ours, tell};
use crate::local::{Sql, Sqlx};

/// The scheme of this name.
fn named(scheme: &str) -> Ours {
    let system = scheme::systems().find(|system| system.scheme == scheme);
    let system = system.unwrap_or_else(|| panic!("there is a scheme `{scheme}`"));
    Ours {
        label: scheme.to_owned(),
        key: Box::new(|name| system.key(name)),
    }
}

/// A scheme with a parameter, which takes every name.
fn of(label: &str, scheme: impl KeyScheme + 'static) -> Ours {
    Ours {
        label: label.to_owned(),
        key: Box::new(move |name| Some(scheme.key(name))),
    }
}

#[tokio::test]
async fn python_and_we_share_locks() {
    let Some(python) = original::python() else {
        return;
    };
    let database = Database::new().await;
    let judge = Judge::new(&database).await;
    for scheme in [
        "DjangoPglock",
        "DjangoPglocks",
        "DjangoPgware",
        "SqlalchemyDlock",
        "PostgresqlLock",
        "Pals",
    ] {
        let original = Original::start(&python, scheme, &database).await;
        judge.compare(original, named(scheme)).await;
    }
    let original = Original::start(&python, "PalsWithApp", &database).await;
    judge
        .compare(original, of("Pals::app", Pals::app("billing")))
        .await;
}

#[tokio::test]
async fn node_and_we_share_locks() {
    let Some(node) = original::node() else {
        return;
    };
    let database = Database::new().await;
    let judge = Judge::new(&database).await;
    let original = Original::start(&node, "AdvisoryLock", &database).await;
    judge.compare(original, named("NpmAdvisoryLock")).await;
}

#[tokio::test]
async fn php_and_we_share_locks() {
    let Some(php) = original::php() else {
        return;
    };
    let database = Database::new().await;
    let judge = Judge::new(&database).await;
    let original = Original::start(&php, "SymfonyLock", &database).await;
    judge.compare(original, named("SymfonyLock")).await;
    let original = Original::start(&php, "PhpLock", &database).await;
    let version_2 = original.package.contains(" 2.");
    let scheme = if version_2 { "PhpLock2" } else { "PhpLock" };
    judge.compare(original, named(scheme)).await;
    let original = Original::start(&php, "PhpLock3", &database).await;
    judge.compare(original, named("PhpLock")).await;
}

#[tokio::test]
async fn ruby_and_we_share_locks() {
    let Some(ruby) = original::ruby() else {
        return;
    };
    let database = Database::new().await;
    let judge = Judge::new(&database).await;
    for scheme in ["WithAdvisoryLock", "HerokuPgLock"] {
        let original = Original::start(&ruby, scheme, &database).await;
        judge.compare(original, named(scheme)).await;
    }
    let original = Original::start(&ruby, "WithAdvisoryLockPrefixed", &database).await;
    let prefixed = WithAdvisoryLock::prefixed("7abc");
    judge
        .compare(original, of("WithAdvisoryLock::prefixed", prefixed))
        .await;
    let mut original = Original::start(&ruby, "Prefixes", &database).await;
    let as_prefix = |prefix: &str| match WithAdvisoryLock::prefixed(prefix).key("") {
        Key::IntPair(_, number) => Key::IntPair(0, number),
        number @ Key::BigInt(_) => number,
    };
    let agreed = judge.agree(&mut original, &of("", as_prefix)).await;
    let ruby = original.describe();
    tell(&format!(
        "WithAdvisoryLock::prefixed = {ruby}: {agreed} random prefixes agree"
    ));
}

/// What applications, Laravel's package and `good_job` have the server compute.
#[tokio::test]
async fn the_server_and_we_share_locks() {
    let database = Database::new().await;
    let judge = Judge::new(&database).await;
    let md5 = |text: &str| format!("('x' || substr(md5({text}), 1, 16))::bit(64)::bigint");
    let extended = "hashtextextended($1, 0)";
    for (scheme, what, key) in [
        ("Hashtext", "`hashtext`", "hashtext($1)"),
        ("LaravelAdvisoryLock", "its SQL", "hashtext($1)"),
        ("HashtextExtended", "`hashtextextended`", extended),
        ("Md5", "`md5`", &md5("$1")),
        ("GoodJob", "its SQL", &md5("'good_jobs' || '-' || $1")),
    ] {
        let sql = Sql::new(what, key, &database).await;
        judge.compare(sql, named(scheme)).await;
    }
    // The default, as docs/INTEROP.md has it for others; the extension is not with every server.
    let mut connection = database.connection().await;
    if let Err(error) = connection.execute("CREATE EXTENSION pgcrypto").await {
        tell(&format!("SKIPPED SHA-1 by the server: {error}"));
        return;
    }
    let reversed =
        "string_agg(substr(encode(digest($1::text, 'sha1'), 'hex'), n, 2), '' ORDER BY n DESC)";
    let key =
        format!("(SELECT ('x' || {reversed})::bit(64)::bigint FROM generate_series(1, 15, 2) n)");
    let sql = Sql::new("pgcrypto", &key, &database).await;
    judge.compare(sql, named("Sha1")).await;
}

#[tokio::test]
async fn sqlx_and_we_share_locks() {
    let database = Database::new().await;
    let judge = Judge::new(&database).await;
    let sqlx = Sqlx::new(&database).await;
    judge.compare(sqlx, named("SqlxAdvisoryLock")).await;
}

#[advisory(key = "foo", scheme = DjangoPglock, tx)]
async fn under_an_attribute(pool: &PgPool) -> Result<(), Error> {
    let held: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(-8086495256948496852)")
        .fetch_one(pool)
        .await?;
    assert!(!held, "another session finds it held");
    let _ = tx;
    Ok(())
}

#[tokio::test]
async fn the_attribute_takes_the_locks_of_others() {
    let pool = Database::new().await.pool(2).await;
    under_an_attribute(&pool).await.unwrap();
}
