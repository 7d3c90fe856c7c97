//! Password files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use advisory_tests::{Database, Server};
use tempfile::TempDir;

use super::source::Source;

/// A server that asks the role `app` for its password, and trusts others.
async fn server() -> (Server, Database, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let file = folder.path().join("hba");
    fs::write(&file, "local all app scram-sha-256\nlocal all all trust\n").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let server = Server::start_with(&[("hba_file", file.to_str().unwrap())]).unwrap();
    let database = Database::on(&server).await;
    database
        .execute("CREATE ROLE app LOGIN PASSWORD 'se:cret'".to_owned())
        .await;
    (server, database, folder)
}

async fn connects(source: &Source, url: &str) -> bool {
    source.database(Some(url)).await.is_ok()
}

#[tokio::test]
async fn the_password_of_a_file_is_used() {
    let (_server, database, _folder) = server().await;
    let source = Source::of(&database).with("PGUSER", "app");
    assert!(!connects(&source, "").await);
    assert!(connects(&source, "password=se:cret").await);
    let line = format!("*:*:{}:app:se\\:cret\n", database.name());
    let mine = source.write("mine", &line);
    assert!(connects(&source, &format!("passfile={}", mine.display())).await);
    source.write(".pgpass", "# none\n*:*:other:app:no\n");
    assert!(!connects(&source, "").await);
    let host = source.get("PGHOST").to_owned();
    source.write(".pgpass", &format!("{host}:5432:*:app:se:cret\n"));
    assert!(connects(&source, "").await);
    // The file of `PGPASSFILE` is the only one.
    let source = source.with("PGPASSFILE", "/nonexistent");
    assert!(!connects(&source, "").await);
    let source = source.with("PGPASSFILE", mine.to_str().unwrap());
    assert!(connects(&source, "").await);
    let source = source.with("PGPASSWORD", "wrong");
    assert!(!connects(&source, "").await);
}

#[tokio::test]
async fn a_password_file_that_others_can_read_is_named_when_the_login_fails() {
    let (_server, database, _folder) = server().await;
    let source = Source::of(&database).with("PGUSER", "app");
    let file = source.write(".pgpass", "*:*:*:app:se\\:cret\n");
    assert!(connects(&source, "").await);
    set_mode(&file, 0o644);
    let refused = source.run(&["ls"]).await;
    let name = file.display().to_string();
    let fix = format!("`chmod 600 {name}`");
    let texts = [
        "password",
        "is ignored: others have access to it (mode 644)",
        &name,
        &fix,
    ];
    refused.assert_fails(69, &texts);
    // It is not needed.
    let source = source.with("PGUSER", "postgres");
    assert!(connects(&source, "").await);
}

fn set_mode(file: &Path, mode: u32) {
    fs::set_permissions(file, Permissions::from_mode(mode)).unwrap();
}
