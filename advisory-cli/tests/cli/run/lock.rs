//! The lock of the command.

use advisory_core::{AdvisoryLock, Key};
use advisory_tests::{Database, LockRow, is_ever};
use sqlx::Executor as _;

use crate::command::{Running, advisory, advisory_command, printed};

/// Prints `runs`, and runs until its standard input ends.
const WORK: [&str; 4] = ["--", "sh", "-c", "echo runs; exec cat"];

fn run(database: &Database, options: &[&str]) -> Running {
    let arguments = [&["run", "a"], options, &WORK].concat();
    Running::start(advisory_command(database, &arguments))
}

async fn holder(database: &Database, options: &[&str]) -> Running {
    let mut holder = run(database, options);
    assert_eq!(holder.line().await, "runs");
    holder
}

async fn end(mut running: Running) {
    running.close_input();
    running.end().await.assert_silent(0);
}

#[tokio::test]
async fn the_lock_is_held_exactly_while_the_command_runs() {
    let (database, pool) = Database::with_pool(1).await;
    let lock = AdvisoryLock::new("a");
    let holder = holder(&database, &[]).await;
    assert!(lock.try_acquire(&pool).await.unwrap().is_none());
    end(holder).await;
    let free = lock.try_acquire(&pool).await.unwrap();
    free.expect("it is free").release().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_taken_lock_exits_with_75_and_names_the_holder() {
    let database = Database::new().await;
    let holder = holder(&database, &[]).await;
    let pid = database.advisory_locks().await[0].pid;
    for wait in [
        &["--no-wait"][..],
        &["--timeout", "0"],
        &["--timeout", "0.05"],
        &["--shared", "--no-wait"],
        // As flock(1) has them.
        &["-n"],
        &["-s", "-n"],
        &["--nonblock"],
        &["-w", "0.05"],
        &["--wait", "50ms"],
    ] {
        let arguments = [&["run", "a"], wait, &WORK].concat();
        let holder_pid = format!("; held by pid {pid}");
        // The holder is not named if a busy machine does not find it in time.
        let names_the_holder = async || {
            let outcome = advisory(&database, &arguments).await;
            outcome.assert_only_fails(75, "advisory lock `a` not acquired");
            // The tag of the session is no name of an application.
            assert!(!outcome.stderr.contains("advisory:a"), "{outcome:?}");
            outcome.stderr.contains(&holder_pid)
        };
        assert!(is_ever(names_the_holder).await);
    }
    end(holder).await;
}

#[tokio::test]
async fn a_skipped_command_exits_with_0_and_prints_nothing() {
    let database = Database::new().await;
    let holder = holder(&database, &[]).await;
    for wait in [
        &["--skip"][..],
        &["--skip", "--no-wait"],
        &["--skip", "--timeout", "0.05"],
    ] {
        let arguments = [&["run", "a"], wait, &WORK].concat();
        let outcome = advisory(&database, &arguments).await;
        outcome.assert_silent(0);
        assert!(outcome.stdout.is_empty(), "{outcome:?}");
    }
    end(holder).await;
}

#[tokio::test]
async fn the_wait_ignores_the_lock_timeout_of_the_server() {
    let database = Database::new().await;
    let name = database.name();
    let limit = format!("ALTER DATABASE {name} SET lock_timeout = '1ms'");
    database.execute(limit).await;
    let mut conn = database.connection().await;
    let holder = holder(&database, &[]).await;
    let mut waiter = run(&database, &[]);
    database.wait_until_waiting(1).await;
    // Longer than the server's `lock_timeout`.
    conn.execute("SELECT pg_sleep(0.2)").await.unwrap();
    database.wait_until_waiting(1).await;
    end(holder).await;
    assert_eq!(waiter.line().await, "runs");
    end(waiter).await;
}

#[tokio::test]
async fn shared_holders_run_together_and_exclude_others() {
    let database = Database::new().await;
    let first = holder(&database, &["--shared"]).await;
    let second = holder(&database, &["-s", "-n"]).await;
    let refused = run(&database, &["--no-wait"]);
    refused.fails(75, "not acquired").await;
    end(first).await;
    end(second).await;
}

#[tokio::test]
async fn one_of_fifty_concurrent_commands_runs() {
    let database = Database::new().await;
    let all: Vec<_> = (0..50).map(|_| run(&database, &["--skip"])).collect();
    let mut runners = Vec::new();
    for mut running in all {
        // The one that runs does so until the others have ended.
        match &*running.line().await {
            "" => end(running).await,
            line => {
                assert_eq!(line, "runs");
                runners.push(running);
            }
        }
    }
    assert_eq!(runners.len(), 1);
    for runner in runners {
        end(runner).await;
    }
    database.assert_nothing_left().await;
}

#[tokio::test]
async fn a_key_scheme_excludes_the_other_system() {
    let database = Database::new().await;
    let mut conn = database.connection().await;
    // The first 8 bytes of SHA-256("sync"), little-endian: `pglock.advisory_command("sync")` in
    // Django.
    conn.execute("SELECT pg_advisory_lock(-896644916365572235)")
        .await
        .unwrap();
    for scheme in ["DjangoPglock", "django-pglock"] {
        let run = ["run", "sync", "--no-wait", "--key-scheme", scheme, "true"];
        let outcome = advisory(&database, &run).await;
        outcome.assert_only_fails(75, "`sync` not acquired");
    }
    conn.execute("SELECT pg_advisory_unlock(-896644916365572235)")
        .await
        .unwrap();
    let arguments = [&["run", "sync", "--key-scheme", "django-pglock"][..], &WORK].concat();
    let mut holder = Running::start(advisory_command(&database, &arguments));
    assert_eq!(holder.line().await, "runs");
    let row = &database.advisory_locks().await[0];
    let key = Key::from_pg_locks(row.classid, row.objid, row.objsubid);
    assert_eq!(key, Some(Key::BigInt(-896_644_916_365_572_235)));
    end(holder).await;
}

#[tokio::test]
async fn a_session_terminated_while_it_waits_exits_with_69() {
    let database = Database::new().await;
    let holder = holder(&database, &[]).await;
    let waiter = run(&database, &[]);
    database.wait_until_waiting(1).await;
    let is_waiting = |lock: &LockRow| !lock.granted;
    database.signal("pg_terminate_backend", is_waiting).await;
    waiter
        .fails(69, "terminating connection due to administrator command")
        .await;
    end(holder).await;
}

#[tokio::test]
async fn a_script_runs_in_a_shell_as_with_flock() {
    let database = Database::new().await;
    let script = "echo one && echo $PG_ADVISORY_KEY | wc -l";
    let run = ["run", "-n", "a", "-c", script];
    assert_eq!(printed(&database, &run).await, "one\n1\n");
}

#[tokio::test]
async fn so_many_run_at_once_as_there_are_permits() {
    let database = Database::new().await;
    let first = holder(&database, &["--permits", "2"]).await;
    let second = holder(&database, &["--permits", "2"]).await;
    let refused = run(&database, &["--permits", "2", "--no-wait"]);
    refused.fails(75, "advisory lock `a` not acquired").await;
    end(first).await;
    end(holder(&database, &["--permits", "2", "--timeout", "20"]).await).await;
    end(second).await;
}
