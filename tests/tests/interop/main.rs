//! Our key schemes compared with the lock packages that they imitate.
//!
//! Each package takes locks on the harness's server. The tests assert that a lock of the package is
//! held for our scheme of the same name, that our lock is held for the package, and that both
//! compute the same keys for random names. A package that is not available on this machine is
//! skipped with a notice.

mod local;
mod migrate;
mod name;
mod oracle;

use advisory_core::scheme::{Pals, WithAdvisoryLock};
use advisory_core::{Error, Key, KeyScheme, advisory, scheme};
use advisory_tests::Database;
use advisory_tests::foreign_client::{self, ForeignClient};
use sqlx::{Executor as _, PgPool};

use crate::local::{Sql, Sqlx};
use crate::oracle::{LockClient as _, Oracle, OurScheme, print_notice};

/// The scheme with this name.
fn named(scheme: &str) -> OurScheme {
    let system = scheme::systems().find(|system| system.scheme == scheme);
    let system = system.unwrap_or_else(|| panic!("there is a scheme `{scheme}`"));
    OurScheme {
        label: scheme.to_owned(),
        key: Box::new(|name| system.key(name)),
    }
}

/// A scheme with a parameter, which accepts every name.
fn scheme_with_parameter(label: &str, scheme: impl KeyScheme + 'static) -> OurScheme {
    OurScheme {
        label: label.to_owned(),
        key: Box::new(move |name| Some(scheme.key(name))),
    }
}

#[tokio::test]
async fn locks_are_shared_with_python_packages() {
    let Some(python) = foreign_client::python() else {
        return;
    };
    let database = Database::new().await;
    let oracle = Oracle::new(&database).await;
    for scheme in [
        "DjangoPglock",
        "DjangoPglocks",
        "DjangoPgware",
        "SqlalchemyDlock",
        "PostgresqlLock",
        "Pals",
    ] {
        oracle.compare_package(&python, scheme, named(scheme)).await;
    }
    let billing = scheme_with_parameter("Pals::app", Pals::app("billing"));
    oracle
        .compare_package(&python, "PalsWithApp", billing)
        .await;
}

#[tokio::test]
async fn locks_are_shared_with_node_packages() {
    let Some(node) = foreign_client::node() else {
        return;
    };
    let database = Database::new().await;
    let oracle = Oracle::new(&database).await;
    let ours = named("NpmAdvisoryLock");
    oracle.compare_package(&node, "AdvisoryLock", ours).await;
}

#[tokio::test]
async fn locks_are_shared_with_php_packages() {
    let Some(php) = foreign_client::php() else {
        return;
    };
    let database = Database::new().await;
    let oracle = Oracle::new(&database).await;
    let ours = named("SymfonyLock");
    oracle.compare_package(&php, "SymfonyLock", ours).await;
    let client = ForeignClient::start(&php, "PhpLock", &database).await;
    let version_2 = client.package.contains(" 2.");
    let scheme = if version_2 { "PhpLock2" } else { "PhpLock" };
    oracle.compare(client, named(scheme)).await;
    let ours = named("PhpLock");
    oracle.compare_package(&php, "PhpLock3", ours).await;
}

#[tokio::test]
async fn locks_are_shared_with_ruby_packages() {
    let Some(ruby) = foreign_client::ruby() else {
        return;
    };
    let database = Database::new().await;
    let oracle = Oracle::new(&database).await;
    for scheme in ["WithAdvisoryLock", "HerokuPgLock"] {
        oracle.compare_package(&ruby, scheme, named(scheme)).await;
    }
    let ours = WithAdvisoryLock::prefixed("7abc");
    let ours = scheme_with_parameter("WithAdvisoryLock::prefixed", ours);
    oracle
        .compare_package(&ruby, "WithAdvisoryLockPrefixed", ours)
        .await;
    let mut client = ForeignClient::start(&ruby, "Prefixes", &database).await;
    let as_prefix = |prefix: &str| match WithAdvisoryLock::prefixed(prefix).key("") {
        Key::IntPair(_, number) => Key::IntPair(0, number),
        number @ Key::BigInt(_) => number,
    };
    let agreed = oracle
        .agree(&mut client, &scheme_with_parameter("", as_prefix))
        .await;
    let ruby = client.describe();
    print_notice(&format!(
        "WithAdvisoryLock::prefixed = {ruby}: {agreed} random prefixes agree"
    ));
}

/// Some packages let the server compute the key: Laravel's package, `good_job` and many
/// applications.
#[tokio::test]
async fn locks_are_shared_with_keys_computed_in_sql() {
    let database = Database::new().await;
    let oracle = Oracle::new(&database).await;
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
        oracle.compare(sql, named(scheme)).await;
    }
    // The default scheme in SQL, as in docs/INTEROP.md. Not every server has the extension.
    let mut connection = database.connection().await;
    if let Err(error) = connection.execute("CREATE EXTENSION pgcrypto").await {
        print_notice(&format!("SKIPPED SHA-1 by the server: {error}"));
        return;
    }
    let reversed =
        "string_agg(substr(encode(digest($1::text, 'sha1'), 'hex'), n, 2), '' ORDER BY n DESC)";
    let key =
        format!("(SELECT ('x' || {reversed})::bit(64)::bigint FROM generate_series(1, 15, 2) n)");
    let sql = Sql::new("pgcrypto", &key, &database).await;
    oracle.compare(sql, named("Sha1")).await;
}

#[tokio::test]
async fn locks_are_shared_with_sqlx() {
    let database = Database::new().await;
    let oracle = Oracle::new(&database).await;
    let sqlx = Sqlx::new(&database).await;
    oracle.compare(sqlx, named("SqlxAdvisoryLock")).await;
}

#[advisory(key = "foo", scheme = DjangoPglock, tx)]
async fn under_an_attribute(pool: &PgPool) -> Result<(), Error> {
    let held: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(-8086495256948496852)")
        .fetch_one(pool)
        .await?;
    assert!(!held, "the attribute holds the lock");
    let _ = tx;
    Ok(())
}

#[tokio::test]
async fn attribute_locks_the_key_of_another_package() {
    let pool = Database::new().await.pool(2).await;
    under_an_attribute(&pool).await.unwrap();
}
