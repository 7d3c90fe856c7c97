//! The originals as judges: the lock packages of other languages, run against the harness's server, and the keys they take.
//!
//! A lock taken by the original is found held here under the scheme of that name, and the other way round; and their functions give
//! the same keys to random names. What is not to be had on this machine is skipped, and said so.

mod install;
mod judge;
mod local;
mod migrate;
mod name;
mod original;

use advisory_core::scheme::{DistributedLock, Pals, PhpLock, WithAdvisoryLock};
use advisory_core::{Error, Key, KeyScheme, advisory, scheme};
use advisory_tests::Database;
use sqlx::PgPool;

use crate::judge::{Judge, Other as _, Ours, tell};
use crate::local::{Sql, Sqlx};
use crate::original::Original;

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
    let Some(python) = install::python() else {
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
    let Some(node) = install::node() else {
        return;
    };
    let database = Database::new().await;
    let judge = Judge::new(&database).await;
    let original = Original::start(&node, "AdvisoryLock", &database).await;
    judge.compare(original, named("NpmAdvisoryLock")).await;
}

#[tokio::test]
async fn php_and_we_share_locks() {
    let Some(php) = install::php() else {
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
    let Some(ruby) = install::ruby() else {
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
    for (key, schemes) in [
        (
            "hashtext($1)",
            ["Hashtext", "LaravelAdvisoryLock"].as_slice(),
        ),
        ("hashtextextended($1, 0)", &["HashtextExtended"]),
        (&md5("$1"), &["Md5"]),
        (&md5("'good_jobs' || '-' || $1"), &["GoodJob"]),
    ] {
        for scheme in schemes {
            let sql = Sql::new(key, &database).await;
            judge.compare(sql, named(scheme)).await;
        }
    }
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

/// No .NET here: what the project's own `PostgresAdvisoryLockKeyTest.cs` states.
#[test]
fn distributed_lock_publishes_these() {
    let key = |name: &str| DistributedLock.key(name);
    assert_eq!(
        key(&"漢".repeat(18)),
        Key::BigInt(-5_707_277_204_051_710_361)
    );
    assert_eq!(key("0000000000000001"), Key::BigInt(1));
    assert_eq!(key("00000003,ffffffff"), Key::IntPair(3, -1));
    assert_eq!(key(&"0".repeat(16)), Key::BigInt(0));
    assert_eq!(key("00000000,00000000"), Key::IntPair(0, 0));
    assert_eq!(key(&"\0".repeat(9)), Key::IntPair(0, 0));
    let mut seen = std::collections::HashSet::from([key("")]);
    for character in '\u{1}'..'\u{80}' {
        for length in 1..=9 {
            let key = key(&character.to_string().repeat(length));
            assert!(matches!(key, Key::IntPair(..)) && seen.insert(key));
        }
    }
    assert!(matches!(key("漢字"), Key::BigInt(_)));
    assert!(matches!(key(&"A".repeat(10)), Key::BigInt(_)));
}

/// Of php-lock 3 and River, too, what their own tests state: `tests/Mutex/PostgreSQLMutexTest.php`,
/// `rivershared/util/hashutil/hash_util_test.go`.
#[test]
fn php_lock_and_river_publish_these() {
    let php = PhpLock.key("test-one-negative-key");
    assert_eq!(php, Key::IntPair(533_558_444, -1_716_795_572));
    let text = "some content for hashing purposes";
    let river = scheme::River.key(text);
    assert_eq!(river, Key::BigInt(1_854_036_014_321_452_184));
    let prefixed = scheme::River::prefixed(i32::MAX).key(text);
    let key = (i64::from(i32::MAX) << 32) + 764_501_624;
    assert_eq!(prefixed, Key::BigInt(key));
}
