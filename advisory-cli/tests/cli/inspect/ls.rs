//! `advisory ls`.

use advisory_core::{AdvisoryLock, known};
use advisory_tests::{Database, Server};
use serde_json::Value;
use sqlx::{Connection as _, Executor as _};

use crate::command::{advisory, advisory_as, assert_contains, names_file, printed, printed_json};
use crate::session::{holder, pid, session, take_lock, wait};

/// `foo` as django-pglock hashes it.
const DJANGO_FOO: i64 = -8_086_495_256_948_496_852;

async fn ls(database: &Database, options: &[&str]) -> String {
    printed(database, &[&["ls"], options].concat()).await
}

async fn json(database: &Database, options: &[&str]) -> Vec<Value> {
    printed_json(database, &[&["ls"], options].concat()).await
}

/// The line with all of these words.
fn line<'t>(text: &'t str, words: &[&str]) -> &'t str {
    let found = text
        .lines()
        .find(|line| words.iter().all(|word| line.contains(word)));
    found.unwrap_or_else(|| panic!("no line with {words:?} in\n{text}"))
}

/// Other tests hold locks in other databases of the server.
#[track_caller]
fn assert_empty(text: &str, begin: &str, database: &Database) {
    let begin = format!("{begin} in database `{}`", database.name());
    assert!(text.starts_with(&begin), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[tokio::test]
async fn an_empty_list_is_one_line_that_names_the_database() {
    let database = Database::new().await;
    let all = ls(&database, &[]).await;
    assert_empty(&all, "nobody holds an advisory lock", &database);
    let blocked = ls(&database, &["--blocked"]).await;
    assert_empty(&blocked, "nobody waits for an advisory lock", &database);
    let mine = ls(&database, &["--mine"]).await;
    let none = "no session of yours holds an advisory lock";
    assert_empty(&mine, none, &database);
    assert_eq!(json(&database, &[]).await, Vec::<Value>::new());
    let _holder = holder(&database, "a", 1).await;
    let blocked = ls(&database, &["--blocked"]).await;
    assert_empty(&blocked, "nobody waits for an advisory lock", &database);
    let tree = printed(&database, &["tree"]).await;
    assert_empty(&tree, "nobody waits for an advisory lock", &database);
}

#[tokio::test]
async fn an_empty_list_says_which_other_databases_have_locks() {
    let server = Server::start().unwrap();
    let (database, shop) = (Database::on(&server).await, Database::on(&server).await);
    let empty = format!(
        "nobody holds an advisory lock in database `{}`",
        database.name()
    );
    assert_eq!(ls(&database, &[]).await.trim_end(), empty);
    let _two = holder(&shop, "a", 1).await;
    let _three = holder(&shop, "b", 2).await;
    let elsewhere = "; other databases have some, which `--all-databases` shows";
    let expected = format!("{empty}{elsewhere}: `{}` (2)", shop.name());
    assert_eq!(ls(&database, &[]).await.trim_end(), expected);
    let waits = wait(&shop, session(&shop, "web").await, 1, 1).await;
    let blocked = ls(&database, &["--blocked"]).await;
    let empty = empty.replace("holds", "waits for");
    assert_eq!(
        blocked.trim_end(),
        format!("{empty}{elsewhere}: `{}` (1)", shop.name())
    );
    let tree = advisory(&database, &["tree"]).await;
    assert_eq!(tree.text(), blocked);
    waits.abort();
}

#[tokio::test]
async fn each_holder_and_each_waiter_is_a_row() {
    let database = Database::new().await;
    let mut holder = holder(&database, "billing", 42).await;
    let pid = pid(&mut holder).await.to_string();
    let waits = wait(&database, session(&database, "web").await, 42, 1).await;
    let mut other = session(&database, "cron").await;
    take_lock(&mut other, true, "1, -7").await;
    let all = ls(&database, &[]).await;
    let heads = all.lines().next().unwrap();
    let of_lock = ["KEY", "MODE", "STATUS", "PID", "BLOCKED BY"];
    let of_session = ["APPLICATION", "USER", "CLIENT", "STATE", "QUERY"];
    assert_contains(heads, &[of_lock, of_session].concat());
    assert!(
        !heads.contains("NAME") && !heads.contains("DATABASE"),
        "{heads}"
    );
    let state = "idle in transaction";
    line(&all, &["42", &pid, "held", "billing", state]);
    let query = "SELECT pg_advisory_xact_lock(42)";
    line(&all, &["42", "waits", "web", "active", &pid, query]);
    line(&all, &["(1, -7)", "shared", "held", "cron"]);
    let blocked = ls(&database, &["--blocked"]).await;
    assert!(
        !blocked.contains("cron") && blocked.lines().count() == 3,
        "{blocked}"
    );
    assert!(!all.contains('\u{1b}'), "no colours in a pipe: {all:?}");
    holder.close().await.unwrap();
    waits.await.unwrap();
}

/// Other programs depend on the fields: they are added, and never renamed or removed.
#[tokio::test]
async fn the_json_has_a_fixed_set_of_fields() {
    let database = Database::new().await;
    let _holder = holder(&database, "billing", DJANGO_FOO).await;
    let waits = wait(&database, session(&database, "web").await, DJANGO_FOO, 1).await;
    let names = names_file("foo");
    let rows = json(&database, &["--names", names.to_str().unwrap()]).await;
    let [held, waiting] = &rows[..] else {
        panic!("{rows:?}");
    };
    let kinds = [
        ("key", "string"),
        ("classid", "number"),
        ("objid", "number"),
        ("objsubid", "number"),
        ("name", "string"),
        ("name_source", "string"),
        ("scheme", "string"),
        ("mode", "string"),
        ("granted", "bool"),
        ("pid", "number"),
        ("blocked_by", "array"),
        ("waiting_seconds", "null"),
        ("transaction_age_seconds", "number"),
        ("state_age_seconds", "number"),
        ("session_age_seconds", "number"),
        ("database", "string"),
        ("application_name", "string"),
        ("user", "string"),
        ("client_addr", "string"),
        ("state", "string"),
        ("wait_event", "string"),
        ("query", "string"),
        ("gid", "null"),
        ("slot", "null"),
    ];
    let object = held.as_object().unwrap();
    assert_eq!(object.len(), kinds.len(), "{object:?}");
    for (field, kind) in kinds {
        assert_eq!(kind_of(&held[field]), kind, "{field}: {object:?}");
    }
    assert_eq!(held["key"], DJANGO_FOO.to_string());
    assert_eq!(
        (&held["granted"], &waiting["granted"]),
        (&true.into(), &false.into())
    );
    assert_eq!(
        waiting["blocked_by"],
        Value::from(vec![held["pid"].clone()])
    );
    assert_eq!(
        (&held["mode"], &held["application_name"]),
        (&"exclusive".into(), &"billing".into())
    );
    waits.abort();
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[tokio::test]
async fn names_of_the_file_are_found_by_every_scheme() {
    let database = Database::new().await;
    let _django = holder(&database, "django", DJANGO_FOO).await;
    let _ours = holder(&database, "rust", -2_661_838_577_447_997_941_i64).await;
    let _number = holder(&database, "cron", 42).await;
    let names = names_file("# what we lock\nfoo\n42 = the answer\n");
    let path = names.to_str().unwrap();
    let all = ls(&database, &["--names", path]).await;
    line(&all, &["foo", "django", &DJANGO_FOO.to_string()]);
    line(&all, &["foo", "rust"]);
    line(&all, &["the answer", "cron"]);
    let rows = json(&database, &["--names", path]).await;
    let django = rows
        .iter()
        .find(|row| row["application_name"] == "django")
        .unwrap();
    assert_eq!(django["name_source"], "file");
    // The first scheme of the list with this algorithm.
    assert_eq!(django["scheme"], "Sha256");
}

#[tokio::test]
async fn the_tag_of_a_session_names_its_lock_unless_it_is_ambiguous() {
    let (database, pool) = Database::with_pool(4).await;
    let sync = AdvisoryLock::new("sync(4)")
        .tag_session()
        .acquire(&pool)
        .await
        .unwrap();
    let both = AdvisoryLock::all(["a", "b"])
        .tag_session()
        .acquire(&pool)
        .await
        .unwrap();
    let of_our_own = AdvisoryLock::with_scheme("mine", |_: &str| 4711).tag_session();
    let mut own = of_our_own.acquire(&pool).await.unwrap();
    let rows = json(&database, &[]).await;
    let name = |key: String| {
        let row = rows.iter().find(|row| row["key"] == key).unwrap();
        (row["name"].as_str(), row["name_source"].as_str())
    };
    let session = Some("session");
    assert_eq!(
        name(sync.lock_id().keys()[0].to_string()),
        (Some("sync(4)"), session)
    );
    for key in ["a", "b"] {
        let number = advisory_core::Key::from(key).to_string();
        assert_eq!(name(number), (Some(key), session));
    }
    assert_eq!(name("4711".to_owned()), (Some("mine"), session));
    let table = ls(&database, &[]).await;
    assert!(
        !table.contains("advisory:"),
        "the tag is not shown as an application: {table}"
    );
    // With a second lock, the tag may mean either of them.
    let conn = own.connection().await.unwrap();
    advisory_core::lock(conn, 4712).await.unwrap();
    let rows = json(&database, &[]).await;
    let row = rows.iter().find(|row| row["key"] == "4711").unwrap();
    assert_eq!(row["name"], Value::Null);
    for guard in [sync, both, own] {
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn the_lock_of_a_known_tool_has_the_name_of_the_tool() {
    let database = Database::new().await;
    let tool = known::all()
        .iter()
        .find(|tool| tool.label == "sqlx migrate")
        .unwrap();
    let key = tool.key(Some(database.name())).unwrap();
    let _holder = holder(&database, "app", key).await;
    line(
        &ls(&database, &[]).await,
        &["sqlx migrate", &key.to_string()],
    );
}

#[tokio::test]
async fn other_databases_and_roles_are_listed_on_request() {
    let database = Database::new().await;
    let other = Database::new().await;
    let _here = holder(&database, "here", 1).await;
    let _there = holder(&other, "there", 1).await;
    assert!(!ls(&database, &[]).await.contains("there"));
    let everywhere = ls(&database, &["--all-databases"]).await;
    line(&everywhere, &[database.name(), "here"]);
    line(&everywhere, &[other.name(), "there"]);
    assert!(everywhere.starts_with(" DATABASE"), "{everywhere}");

    let role = database.role().await;
    let seen = advisory_as(&role, &["ls", "--json"]).await;
    seen.assert_silent(0);
    let rows: Vec<Value> = serde_json::from_str(seen.text()).unwrap();
    assert_eq!(
        (&rows[0]["application_name"], &rows[0]["query"]),
        (&"here".into(), &Value::Null)
    );
    let none = advisory_as(&role, &["ls", "--mine"]).await;
    assert!(none.text().starts_with("no session of yours holds"));
    assert!(ls(&database, &["--mine"]).await.contains("here"));
}

#[tokio::test]
async fn control_characters_are_replaced() {
    let database = Database::new().await;
    let mut session = session(&database, "x").await;
    session
        .execute("SELECT '\u{1b}[2J', pg_advisory_xact_lock(1)")
        .await
        .unwrap();
    let all = ls(&database, &[]).await;
    assert!(!all.contains('\u{1b}') && all.contains("[2J"), "{all:?}");
}

#[tokio::test]
async fn bad_input_is_a_failure_of_one_line() {
    let database = Database::new().await;
    let names = names_file("a\n99999999999999999999 = b\n");
    let path = names.to_str().unwrap();
    let bad = advisory(&database, &["ls", "--names", path]).await;
    bad.assert_only_fails(2, "line 2: expected a number of 64 bits");
    let missing = advisory(&database, &["ls", "--names", "/nonexistent"]).await;
    missing.assert_only_fails(2, "the names file /nonexistent cannot be read");
    for (arguments, said) in [
        (&["ls", "--watch=0"][..], "from 0.1 to 86400"),
        // A name is no interval.
        (&["ls", "--watch", "a", "--names", "/no/file"], "/no/file"),
        (&["ls", "-wb", "a", "--names", "/no/file"], "/no/file"),
    ] {
        let refused = advisory(&database, arguments).await;
        assert_eq!(refused.code, 2, "{refused:?}");
        assert_contains(&refused.stderr, &[said]);
    }
}
