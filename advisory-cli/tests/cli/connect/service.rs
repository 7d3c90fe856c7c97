//! Services, and the files that define them.

use std::fmt::Write as _;

use advisory_tests::Database;

use super::source::Source;

/// A definition of a service for a database.
fn definition(name: &str, database: &Database) -> String {
    let source = Source::of(database);
    let mut text = format!("[{name}]\n");
    for (parameter, variable) in [
        ("host", "PGHOST"),
        ("port", "PGPORT"),
        ("user", "PGUSER"),
        ("dbname", "PGDATABASE"),
        ("password", "PGPASSWORD"),
    ] {
        if !source.get(variable).is_empty() {
            let _ = writeln!(text, "{parameter}={}", source.get(variable));
        }
    }
    text
}

#[tokio::test]
async fn a_service_of_the_users_file_is_found() {
    let (database, other) = (Database::new().await, Database::new().await);
    let text = definition("app", &database) + &definition("other", &other);
    let source = Source::empty();
    source.write(".pg_service.conf", &text);
    for url in [
        "service=app",
        "postgres://?service=app",
        "postgresql:///?service=app",
    ] {
        Source::assert_is(&source.database(Some(url)).await, &database, url);
    }
    let source = source.with("PGSERVICE", "other");
    Source::assert_is(&source.database(None).await, &other, "PGSERVICE");
    // The service of the connection string wins, and so does its database over the service's.
    Source::assert_is(
        &source.database(Some("service=app")).await,
        &database,
        "both",
    );
    let named = format!("postgres:///{}", database.name());
    Source::assert_is(&source.database(Some(&named)).await, &database, "dbname");
    let source = source.with("DATABASE_URL", &named);
    Source::assert_is(&source.database(None).await, &database, "DATABASE_URL");
}

#[tokio::test]
async fn a_service_wins_over_the_variables() {
    let (database, other) = (Database::new().await, Database::new().await);
    let source = Source::of(&other).with("PGSERVICE", "app");
    source.write(".pg_service.conf", &definition("app", &database));
    Source::assert_is(&source.database(None).await, &database, "PGSERVICE");
}

#[tokio::test]
async fn the_files_are_looked_at_in_turn() {
    let (database, other) = (Database::new().await, Database::new().await);
    let source = Source::empty().with("PGSERVICE", "app");
    let file = source.write("mine.conf", &definition("app", &database));
    source.write("system/pg_service.conf", &definition("app", &other));
    let system = source.home().join("system");
    let source = source.with("PGSYSCONFDIR", system.to_str().unwrap());
    Source::assert_is(&source.database(None).await, &other, "the system's file");
    let url = format!("servicefile={}", file.display());
    Source::assert_is(&source.database(Some(&url)).await, &database, "servicefile");
    let source = source.with("PGSERVICEFILE", file.to_str().unwrap());
    Source::assert_is(&source.database(None).await, &database, "PGSERVICEFILE");
}

#[tokio::test]
async fn a_service_that_cannot_be_used_is_an_error_of_one_line() {
    let source = Source::empty();
    source.write(
        ".pg_service.conf",
        "[bad]\nhost=x\nhots=y\n[nested]\nservice=bad\n[ldap]\nldap://x/y\n",
    );
    let home = source.home().display();
    for (service, text) in [
        (
            "none",
            format!("the service `none` is not defined; looked in {home}/.pg_service.conf, "),
        ),
        ("bad", "`hots` in service `bad` of ".to_owned()),
        (
            "nested",
            "line 5: a service cannot refer to another one".to_owned(),
        ),
        ("ldap", "line 7: LDAP is not supported".to_owned()),
    ] {
        let url = format!("service={service}");
        let refused = source
            .run(&["run", "--skip", "a", "--database-url", &url, "--", "true"])
            .await;
        assert_ne!(refused.code, 0, "{refused:?}");
        refused.assert_only_fails(refused.code, &text);
    }
}
