//! `advisory key`, which needs no server.

use advisory_core::{known, scheme};
use advisory_tests::{Database, scalar};
use serde_json::Value;
use tokio::process::Command;

use crate::command::{
    ADVISORY, DATABASE_OID, Outcome, advisory_command, assert_contains, command_with_url,
    names_file, output_of, printed_json,
};

async fn key(arguments: &[&str]) -> Outcome {
    let mut command = Command::new(ADVISORY);
    command
        .arg("key")
        .args(arguments)
        .env_remove("DATABASE_URL");
    output_of(command).await
}

async fn json(arguments: &[&str]) -> Vec<Value> {
    let ended = key(&[arguments, &["--json"]].concat()).await;
    ended.assert_silent(0);
    serde_json::from_slice(&ended.stdout).unwrap()
}

#[tokio::test]
async fn a_name_has_a_key_under_every_scheme() {
    let keys = json(&["foo"]).await;
    assert_eq!(keys.len(), scheme::systems().count());
    for (row, system) in keys.iter().zip(scheme::systems()) {
        assert_eq!(row["scheme"], system.scheme);
        let key = system.key("foo").unwrap();
        assert_eq!(row["key"], key.to_string());
        let (classid, objid, objsubid) = key.to_pg_locks();
        let columns = (&row["classid"], &row["objid"], &row["objsubid"]);
        assert_eq!(columns, (&classid.into(), &objid.into(), &objsubid.into()));
    }
    assert_eq!(keys[0]["hex"], "0xdb0f3feab5c7ee0b");
    let fields: Vec<_> = keys[0]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expected = [
        "classid", "hex", "key", "name", "objid", "objsubid", "scheme", "system",
    ];
    assert_eq!(fields, expected);
    let table = key(&["foo", "bar"]).await;
    assert_contains(
        table.text(),
        &["-2661838577447997941", "3675209706", " bar "],
    );
}

#[tokio::test]
async fn a_system_that_refuses_a_name_has_no_key_for_it() {
    let keys = json(&[""]).await;
    assert!(keys.len() < scheme::systems().count());
    assert!(!keys.iter().any(|row| row["scheme"] == "DjangoPglock"));
    let refused = key(&["", "--key-scheme", "django-pglock"]).await;
    refused.assert_only_fails(
        2,
        "django-pglock does not take the name ``: it refuses the empty name",
    );
}

#[tokio::test]
async fn a_scheme_can_be_chosen() {
    let keys = json(&["foo", "--key-scheme", "django_pglock"]).await;
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0]["key"], "-8086495256948496852");
    let unknown = key(&["foo", "--key-scheme", "sha3"]).await;
    assert_eq!(unknown.code, 2);
    assert_contains(&unknown.stderr, &["expected one of Sha1, Crc32"]);
}

#[tokio::test]
async fn a_key_is_decoded() {
    let names = names_file("foo\n");
    let path = names.to_str().unwrap();
    let (number, columns) = ("-2661838577447997941", "3675209706,3049778699,1");
    let decode = ["--decode", number, columns, "0x4d2", "(1, -7)"];
    let keys = json(&[&decode[..], &["--names", path]].concat()).await;
    for same in &keys[..2] {
        assert_eq!(same["key"], "-2661838577447997941");
        assert_eq!(
            (&same["name"], &same["scheme"]),
            (&"foo".into(), &"Sha1".into())
        );
    }
    assert_eq!(
        (&keys[2]["key"], &keys[2]["is_small"]),
        (&"1234".into(), &true.into())
    );
    assert_eq!(keys[3]["objid"], 4_294_967_289_u32);
    let of_pairs = keys[3]["schemes"].as_array().unwrap();
    assert!(of_pairs.contains(&"WithAdvisoryLock".into()) && !of_pairs.contains(&"Sha1".into()));
    let flyway = key(&["--decode", "77433833903597"]).await;
    assert_contains(flyway.text(), &["tool      Flyway"]);
    let rails = advisory_core::known::all()
        .iter()
        .find(|tool| tool.label == "Rails migrations");
    let number = rails.unwrap().key(Some("shop")).unwrap().to_string();
    let known = json(&["--decode", &number, "--database", "shop"]).await;
    assert_eq!(known[0]["tool"], "Rails migrations");
    assert_eq!(json(&["--decode", &number]).await[0]["tool"], Value::Null);
}

#[tokio::test]
async fn a_name_that_ls_shows_has_its_key_first() {
    let names = names_file("42 = nightly\n");
    let path = names.to_str().unwrap();
    for (arguments, number, system) in [
        (&["Prisma Migrate"][..], "72707369", "Prisma Migrate"),
        (&["nightly", "--names", path], "42", "names file"),
    ] {
        let keys = json(arguments).await;
        assert_eq!(keys.len(), scheme::systems().count() + 1);
        let row = &keys[0];
        assert_eq!(
            (&row["key"], &row["system"]),
            (&number.into(), &system.into())
        );
        assert_eq!(row["scheme"], Value::Null);
    }
    let rails = key(&["Rails migrations"]).await;
    rails.assert_only_fails(
        2,
        "follows from the name of the database; give `--database`",
    );
    assert_eq!(
        key(&["Rails migrations", "--database", "shop"]).await.code,
        0
    );
    let number = key(&["42"]).await;
    assert_eq!(number.code, 0);
    assert_contains(&number.stderr, &["`42` is a name here; `--decode` shows"]);
}

#[tokio::test]
async fn a_key_of_the_servers_log_is_decoded_with_its_database() {
    let database = Database::new().await;
    let mut conn = database.connection().await;
    let oid: i64 = scalar(&mut conn, DATABASE_OID).await;
    let tool = known::all()
        .iter()
        .find(|tool| tool.needs_database())
        .unwrap();
    let (classid, objid, objsubid) = tool.key(Some(database.name())).unwrap().to_pg_locks();
    let logged = format!("[{oid},{classid},{objid},{objsubid}]");
    let keys: Vec<Value> = printed_json(&database, &["key", "--decode", &logged]).await;
    assert_eq!(keys[0]["tool"], tool.label);
    assert_eq!(keys[0]["database"], database.name());
    assert_eq!(keys[0]["database_oid"], oid);
    // Without a server, the rest is known all the same.
    let away = "postgres:///none?host=/no/such/folder";
    let prisma = ["key", "--decode", "[5,0,72707369,1]"];
    let outcome = output_of(command_with_url(away, &prisma)).await;
    outcome.assert_silent(0);
    let texts = [
        "tool      Prisma Migrate",
        "database  the one whose oid is 5",
    ];
    assert_contains(outcome.text(), &texts);
}

#[tokio::test]
async fn an_invalid_key_is_an_error() {
    let no_key = key(&["--decode", "sync(4)"]).await;
    no_key.assert_only_fails(
        2,
        "expected a key, such as `-42`, `0x1f` or `(1, 7)`, found `sync(4)`",
    );
    let columns = key(&["--decode", "1,2,3"]).await;
    columns.assert_only_fails(2, "expected `classid,objid,objsubid` as in `pg_locks`");
    assert_eq!(key(&[]).await.code, 2);
}

#[tokio::test]
async fn an_empty_variable_for_the_names_file_is_as_if_it_were_not_set() {
    let database = Database::new().await;
    for arguments in [&["key", "foo"][..], &["run", "sync", "--", "true"]] {
        let mut command = advisory_command(&database, arguments);
        command.env("ADVISORY_NAMES", "");
        let outcome = output_of(command).await;
        assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:?}");
    }
}
