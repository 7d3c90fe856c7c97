//! Standard streams, arguments and the environment of the command.

use advisory_core::AdvisoryLock;
use advisory_tests::Database;

use crate::command::{
    Running, advisory, advisory_command, assert_contains, names_file, printed, run_script,
};

#[tokio::test]
async fn standard_input_and_output_are_passed_through_unchanged() {
    let database = Database::new().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    // The content is read from a file: a pipe from the test would block at this length.
    let copy = "exec cat \"$0\" -";
    let path = file.path().to_str().unwrap();
    let arguments = ["run", "a", "--", "sh", "-c", copy, path];
    let mut run = Running::start(advisory_command(&database, &arguments));
    run.write(b"\0\xff\r\n").await.unwrap();
    run.close_input();
    let outcome = run.end().await;
    outcome.assert_silent(0);
    assert_eq!(outcome.stdout.len(), bytes.len() + 4);
    assert!(outcome.stdout.starts_with(&bytes) && outcome.stdout.ends_with(b"\0\xff\r\n"));
}

#[tokio::test]
async fn standard_error_is_the_commands() {
    let database = Database::new().await;
    let outcome = advisory(&database, &run_script(&[], "echo oops >&2")).await;
    let found = (outcome.code, outcome.text(), &*outcome.stderr);
    assert_eq!(found, (0, "", "oops\n"));
}

#[tokio::test]
async fn the_command_finds_the_key_in_its_environment() {
    let database = Database::new().await;
    let names = names_file("sync\n4711 = nightly\n");
    let path = names.to_str().unwrap();
    let keys: [(&[&str], &str); 9] = [
        (&["sync"], "-2569294714323060629"),
        (
            &["sync", "--key-scheme", "DjangoPglock"],
            "-896644916365572235",
        ),
        (&["--key", "0x1f"], "31"),
        (&["--key", "-42"], "-42"),
        (&["--key", "1,-7"], "(1, -7)"),
        (&["--key", "0,72707369,1"], "72707369"),
        // What `ls` shows as a name.
        (&["Prisma Migrate"], "72707369"),
        (&["--names", path, "nightly"], "4711"),
        (&["--names", path, "sync"], "-2569294714323060629"),
    ];
    for (lock, key) in keys {
        let arguments = [&["run"], lock, &["--", "printenv", "PG_ADVISORY_KEY"]].concat();
        let shown = printed(&database, &arguments).await;
        assert_eq!(shown, format!("{key}\n"), "{lock:?}");
    }
}

#[tokio::test]
async fn arguments_reach_the_command_unchanged() {
    let database = Database::new().await;
    let printf = ["printf", "[%s]", "--skip", "", "two words"];
    let with = [&["run", "a", "--"], &printf[..], &["--", "-h", "*"]].concat();
    let without = [&["run", "a"], &printf[..], &["-h", "*"]].concat();
    for (run, expected) in [
        (&with[..], "[--skip][][two words][--][-h][*]"),
        (&without, "[--skip][][two words][-h][*]"),
        // As the command has it.
        (&["run", "a", "printf", "[%s]", "--", "-x"], "[--][-x]"),
    ] {
        assert_eq!(printed(&database, run).await, expected, "{run:?}");
    }
}

#[tokio::test]
async fn the_command_finds_a_fencing_token_if_it_is_asked_for() {
    let database = Database::new().await;
    let mut last = 0;
    for _ in 0..3 {
        let run = ["run", "--fence", "a", "printenv", "ADVISORY_FENCE"];
        let token = printed(&database, &run).await;
        let token: i64 = token.trim().parse().unwrap();
        assert!(token > last, "{token} after {last}");
        last = token;
    }
    let without = advisory(&database, &["run", "a", "printenv", "ADVISORY_FENCE"]).await;
    assert_eq!(without.code, 1, "{without:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_standard_error_keeps_the_exit_code() {
    let database = Database::new().await;
    let full = || std::fs::File::create("/dev/full").unwrap();
    let code = async |arguments: &[&str]| {
        let mut command = advisory_command(&database, arguments);
        command.stderr(full()).status().await.unwrap().code()
    };
    let missing = code(&["run", "a", "--", "/no/such/command"]).await;
    assert_eq!(missing, Some(127));
    let pool = database.pool(1).await;
    let holder = AdvisoryLock::new("a").acquire(&pool).await.unwrap();
    let taken = code(&["run", "a", "--no-wait", "--", "true"]).await;
    assert_eq!(taken, Some(75));
    holder.release().await.unwrap();
}

#[tokio::test]
async fn a_name_that_looks_like_a_key_is_mentioned_to_those_who_watch() {
    let database = Database::new().await;
    let outcome = advisory(&database, &["run", "-v", "42", "true"]).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let mention = "`42` is a name here; `--key` makes it the key 42";
    assert_contains(&outcome.stderr, &[mention]);
}
