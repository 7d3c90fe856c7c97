//! `run --every` and `run --at-least` on machines whose clocks differ.

use std::future::pending;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use advisory_tests::{Database, by_depth, scalar};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::command::{ADVISORY, advisory, output_of, with_url};

/// The clocks of the machines: so many seconds ahead of the server's.
const CLOCKS: [i32; 4] = [0, 1, 30, 600];

/// Prints the time by the clock of its machine.
const JOB: [&str; 2] = ["date", "+%s.%N"];

/// Notes each period that is marked.
const NOTE_MARKS: &str = "CREATE TABLE marked (period timestamptz);
    CREATE FUNCTION note_mark() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN INSERT INTO marked VALUES (NEW.period); RETURN NULL; END $$;
    CREATE TRIGGER note_mark AFTER UPDATE ON advisory_period FOR EACH ROW
      WHEN (NEW.period > OLD.period) EXECUTE FUNCTION note_mark()";

/// Removes the shared memory of killed processes with a faked clock: faketime(1) refuses to start
/// under a process id for which there is some.
fn clean_up_after_faketime() {
    let files = std::fs::read_dir("/dev/shm")
        .into_iter()
        .flatten()
        .flatten();
    for file in files.map(|file| file.path()) {
        let name = file.to_string_lossy();
        let Some((_, pid)) = name
            .rsplit_once("faketime_")
            .and_then(|(_, id)| id.split_once('_'))
        else {
            continue;
        };
        if !std::path::Path::new("/proc").join(pid).exists() {
            // Another process may have removed it, or own it.
            let _ = std::fs::remove_file(&file);
        }
    }
}

fn has_faketime() -> bool {
    clean_up_after_faketime();
    let has_faketime = std::process::Command::new("faketime")
        .args(["-f", "+0s", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !has_faketime {
        println!("skipped: faketime(1) is not installed");
    }
    has_faketime
}

/// The command on a machine whose clock is so many seconds ahead.
fn ahead(database: &Database, seconds: i32, arguments: &[&str]) -> Command {
    let mut command = Command::new("faketime");
    command.env("DONT_FAKE_MONOTONIC", "1");
    command.args(["-f", &format!("{seconds:+}s"), ADVISORY]);
    with_url(command, &database.url(), arguments)
}

async fn database() -> Database {
    let database = Database::new().await;
    advisory(&database, &["setup"]).await.assert_silent(0);
    database
}

#[tokio::test]
async fn clocks_that_differ_do_not_matter() {
    if !has_faketime() {
        return;
    }
    let database = database().await;
    // Every moment of the test is in one of at most two such periods.
    let run = ["run", "a", "--every", "520w", "--", "date", "+%s"];
    let mut ran = Vec::new();
    for seconds in [0, 1, 30, 600, -600, 20_000_000] {
        let outcome = output_of(ahead(&database, seconds, &run)).await;
        outcome.assert_silent(0);
        ran.extend(outcome.text().lines().map(ToOwned::to_owned));
    }
    assert_eq!(ran.len(), 1, "{ran:?}");
    // The clocks of those that were skipped do differ.
    let other = ["run", "b", "--every", "520w", "--", "date", "+%s"];
    let later = output_of(ahead(&database, 20_000_000, &other)).await;
    let [now, later] = [&*ran[0], later.text().trim()].map(|time| time.parse::<i64>().unwrap());
    assert!(later > now + 10_000_000, "{later} after {now}");
}

/// A run of the job, by the clock of the server, in seconds.
#[derive(Debug)]
struct Run {
    /// When `advisory` was started: before it was granted the lock.
    started: f64,
    /// When the job ran.
    ran: f64,
}

fn now() -> f64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    now.as_secs_f64()
}

/// Starts the job once. Notes the run, if the job runs.
async fn try_once(database: &Database, clock: i32, arguments: &[&str], runs: &Mutex<Vec<Run>>) {
    let started = now();
    let mut command = ahead(database, clock, arguments);
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    if let Some(line) = lines.next_line().await.unwrap() {
        let ran = line.parse::<f64>().unwrap() - f64::from(clock);
        runs.lock().unwrap().push(Run { started, ran });
    }
    let status = process.wait().await.unwrap();
    assert!(status.success(), "{status}");
}

/// Starts the job again and again on each machine, until it is enough.
async fn try_on_all(
    database: &Database,
    arguments: &[&str],
    runs: &Mutex<Vec<Run>>,
    is_enough: impl Fn() -> bool,
) {
    let pause = by_depth(Duration::from_millis(20), Duration::from_secs(1));
    let machines = CLOCKS.map(|clock| {
        let is_enough = &is_enough;
        async move {
            while !is_enough() {
                try_once(database, clock, arguments, runs).await;
                sleep(pause).await;
            }
        }
    });
    let [one, two, three, four] = machines;
    tokio::join!(one, two, three, four);
}

/// In full depth, this takes two minutes.
#[tokio::test]
async fn a_job_runs_once_in_each_period_on_machines_whose_clocks_differ() {
    if !has_faketime() {
        return;
    }
    let database = database().await;
    let mut conn = database.connection().await;
    sqlx::raw_sql(NOTE_MARKS).execute(&mut conn).await.unwrap();
    let (length, period, least) = by_depth((2.0, "2s", "2"), (60.0, "1m", "60"));
    let every = ["run", "every", "--every", period, "--skip", "--"];
    let at_least = ["run", "at least", "--at-least", least, "--skip", "--"];
    let [every, at_least] = [every, at_least].map(|options| [&options[..], &JOB].concat());
    let (marked, kept) = (Mutex::default(), Mutex::default());
    let has_run = |runs: &Mutex<Vec<Run>>| runs.lock().unwrap().len() >= 3;
    let is_enough = || has_run(&marked) && has_run(&kept);
    // A process that keeps its lock for a minute is not waited for.
    let enough = async {
        while !is_enough() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let all = async {
        tokio::join!(try_on_all(&database, &every, &marked, is_enough), async {
            tokio::select! {
                () = try_on_all(&database, &at_least, &kept, || false) => pending::<()>().await,
                () = enough => {}
            }
        });
    };
    let limit = Duration::from_secs_f64(length * 10.0) + Duration::from_mins(1);
    timeout(limit, all).await.expect("three runs of each");

    let marked = marked.into_inner().unwrap();
    let marks: i64 = scalar(&mut conn, "SELECT count(*) FROM marked").await;
    let periods: i64 = scalar(&mut conn, "SELECT count(DISTINCT period) FROM marked").await;
    println!("{} runs in {periods} periods; {kept:?}", marked.len());
    assert_eq!(
        (marks, periods),
        (i64::try_from(marked.len()).unwrap(), marks)
    );
    let span = "SELECT date_part('epoch', max(period) - min(period)) FROM marked";
    let span: f64 = scalar(&mut conn, span).await;
    // A busy machine may need longer than a short period to start a process.
    let expected = length * (f64::from(i32::try_from(marks).unwrap()) - 1.0);
    assert!(
        by_depth(span >= expected, (span - expected).abs() < 1.0),
        "{span} of {expected}"
    );

    let mut kept = kept.into_inner().unwrap();
    kept.sort_by(|one, other| one.ran.total_cmp(&other.ran));
    for pair in kept.windows(2) {
        // The clocks of the machine and of its processes may differ by a little after a minute.
        let between = pair[1].ran - pair[0].started;
        assert!(between > length - 0.1, "{between} s: {pair:?}");
    }
}
