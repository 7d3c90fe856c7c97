//! Connection strings, read as libpq reads them.

use advisory_tests::{Database, print_notice};

use super::source::Source;
use crate::command::output_of;

#[tokio::test]
async fn an_empty_database_url_is_as_if_it_were_not_set() {
    let database = Database::new().await;
    let source = Source::of(&database);
    Source::assert_is(
        &source.database(Some("")).await,
        &database,
        "--database-url ''",
    );
    let source = source.with("DATABASE_URL", "");
    Source::assert_is(&source.database(None).await, &database, "DATABASE_URL=");
}

#[tokio::test]
async fn what_is_no_connection_string_is_refused_without_repeating_it() {
    let source = Source::empty();
    for url in [
        "mysql://u:hidden@h/d",
        "mysql://u:hidden@h/d?a=b",
        "postgres://u:hidden/x@h/d",
        "postgres://u:hidden?x@h/d",
        "postgres://u:hidden?x=y@h/d",
        "postgres://u:p@ss?hidden=y@h/d",
        "hidden",
        "host",
        "= x",
        "host='hidden",
        "host=x hidden",
        "postgres://u:%zz@h/d",
        "postgres://[::1/hidden",
        "postgres://h/d?hidden",
        // The host is forgotten, and the password is in the place of the port.
        "postgres://u:hidden/d",
        "postgres://u:hidden%40h/d",
    ] {
        let refused = source.run(&["ls", "--database-url", url]).await;
        assert_eq!(refused.code, 2, "{url}: {refused:?}");
        assert_eq!(refused.stderr.lines().count(), 1, "{url}: {refused:?}");
        assert!(!refused.stderr.contains("hidden"), "{url}: {refused:?}");
    }
}

#[tokio::test]
async fn a_password_that_is_not_encoded_is_refused_without_repeating_it() {
    let source = Source::empty();
    for url in [
        "postgres://app:p@ss:w0/rd@db.example/prod",
        "postgres://app:p@ss/rd@db.example/prod",
        "postgres://app:p@ss?rd@db.example/prod?sslmode=require",
        "postgres://app:p@ss/w0?rd@db.example/prod?sslmode=require",
        "postgres://app:p@ss?rd@db.example/prod",
    ] {
        let refused = source.run(&["ls", "--database-url", url]).await;
        refused.assert_only_fails(2, "before the `@` has to be written as `%");
        for part in ["w0", "rd", "ss"] {
            let hint = refused.stderr.contains(part);
            assert!(!hint, "`{part}` of {url}: {refused:?}");
        }
    }
}

/// The strings with which a test connects, and others that name no server.
fn strings(database: &Database) -> Vec<String> {
    let source = Source::of(database);
    let (host, port) = (source.get("PGHOST"), source.get("PGPORT"));
    let (user, name) = (source.get("PGUSER"), database.name());
    let encoded = host.replace('/', "%2f");
    vec![
        format!("postgres://{user}@/{name}?host={host}&port={port}"),
        format!("postgresql://{user}@{encoded}:{port}/{name}"),
        format!("postgres:///{name}?host={encoded}"),
        format!("postgres://?host={host}&dbname={name}&user={user}"),
        format!("postgres://{user}:secret@{encoded}/{name}"),
        format!("postgres://nobody@{encoded}/{name}?user={user}"),
        format!("postgres://@{encoded}:/{name}"),
        format!("postgres://example.com:1/other?host={host}&port={port}&dbname={name}"),
        format!("postgres://{user}@,{encoded}:{port},{port}/{name}"),
        format!("host={host} port = {port} user='{user}'  dbname = '{name}'"),
        format!("  dbname='{name}'host={host}"),
        format!("dbname=\\{name}"),
        format!("dbname={name} dbname={name}x dbname={name}"),
        format!("dbname='' "),
        format!("host='' dbname={name} port=1"),
        format!("dbname={name}%20"),
        format!("postgres://{user}:p%40s%2Fs@{encoded}/{name}?application_name=a@b"),
        format!("postgres:///{name}%20"),
        format!("postgres:///{name}?sslmode=bad"),
        format!("postgres:///{name}?bad=1"),
        format!("postgres:///{name}?"),
        format!("postgres:///{name}?port="),
        format!("dbname={name} port=0"),
        format!("dbname={name} host="),
        "postgres://".to_owned(),
    ]
}

/// libpq itself, in `psql`, is asked for the same.
#[tokio::test]
async fn connection_strings_mean_what_they_mean_to_libpq() {
    let database = Database::new().await;
    let source = Source::of(&database).without("PGPASSWORD");
    let version = source.command("psql", &["--version"]).output().await;
    if !version.is_ok_and(|version| version.status.success()) {
        print_notice("SKIPPED a comparison with libpq: no `psql` on this machine");
        return;
    }
    for string in strings(&database) {
        let query = ["-XAtc", "SELECT current_database()", &string];
        let libpq = output_of(source.command("psql", &query)).await;
        let of_libpq = (libpq.code == 0).then(|| libpq.text().trim().to_owned());
        let ours = source.database(Some(&string)).await;
        assert_eq!(
            ours.as_ref().ok(),
            of_libpq.as_ref(),
            "{string}: {ours:?} {libpq:?}"
        );
    }
}
