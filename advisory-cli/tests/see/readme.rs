//! What the README shows of `ls` and `tree` is what they print.

use std::io::Write as _;

use advisory_core::scheme::DjangoPglock;
use advisory_core::{Key, KeyScheme as _};
use advisory_tests::Database;
use sqlx::PgConnection;
use tempfile::NamedTempFile;
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::command::{ADVISORY, ended, with_url};
use crate::scene::{ask, holder, session, wait};

/// A night: one session idles on its lock, a chain waits behind it, two readers share theirs.
struct Night {
    _sessions: Vec<PgConnection>,
    waiting: Vec<JoinHandle<PgConnection>>,
}

fn number(name: &str) -> i64 {
    match Key::from(name) {
        Key::BigInt(key) => key,
        Key::IntPair(..) => unreachable!("BUG: SHA-1 makes one number"),
    }
}

async fn night(database: &Database) -> Night {
    let mut sessions = vec![holder(database, "billing", number("sync(4)")).await];
    let web = holder(database, "web", number("report")).await;
    let web = wait(database, web, number("sync(4)"), 1).await;
    let cron = session(database, "cron").await;
    let cron = wait(database, cron, number("report"), 2).await;
    for reader in ["django-1", "django-2"] {
        let mut conn = session(database, reader).await;
        ask(&mut conn, true, DjangoPglock.key("catalogue")).await;
        sessions.push(conn);
    }
    Night {
        _sessions: sessions,
        waiting: vec![web, cron],
    }
}

/// As on a terminal of 120 columns.
async fn shown(url: &str, arguments: &str) -> String {
    let mut script = Command::new("script");
    let line = format!("stty rows 40 cols 120; {ADVISORY} {arguments}");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    script.env("NO_COLOR", "1").env("TERM", "xterm");
    let ended = ended(with_url(script, url, &[])).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    String::from_utf8(ended.stdout).unwrap().replace('\r', "")
}

/// Without numbers, times and widths, which differ from night to night.
fn masked(text: &str) -> Vec<String> {
    let is_told = |line: &&str| !line.trim().is_empty() && !line.starts_with("^D");
    let word = |word: &str| match word.trim_end_matches(',') {
        "ms" | "s" | "min" | "h" => "TIME".to_owned(),
        number if number.trim_start_matches('-').parse::<u64>().is_ok() => "N".to_owned(),
        other => other.to_owned(),
    };
    let lines = text.lines().filter(is_told).map(|line| {
        let mut words: Vec<_> = line.split_whitespace().map(word).collect();
        // `3 min 20 s` is a time like any other.
        words.dedup_by(|next, word| word.as_str() == "N" && next == "TIME");
        words.dedup();
        words.join(" ")
    });
    lines.collect()
}

#[tokio::test]
async fn the_readme_shows_what_is_printed() {
    let database = Database::new().await;
    let night = night(&database).await;
    let mut names = NamedTempFile::new().unwrap();
    names
        .write_all(b"sync({1..500})\nreport\ncatalogue\n")
        .unwrap();
    let path = names.path().to_str().unwrap();
    for subcommand in ["ls", "tree"] {
        let arguments = format!("{subcommand} --names {path}");
        let printed = shown(&database.url(), &arguments).await;
        println!("{printed}");
        let shown = block(&format!("advisory {subcommand} --names names.txt"));
        assert_eq!(masked(shown), masked(&printed), "{printed}");
    }
    night.waiting.iter().for_each(JoinHandle::abort);
}

/// What stands below a command in the README.
fn block(command: &str) -> &'static str {
    let readme = include_str!("../../../README.md");
    let (_, rest) = readme
        .split_once(&format!("$ {command}\n"))
        .unwrap_or_else(|| panic!("the README shows `{command}`"));
    let (block, _) = rest.split_once("```").expect("the block ends");
    block.split("\n$ ").next().unwrap_or_default()
}

/// The checks and what has come of them; what was found differs from server to server.
fn checks(text: &str) -> Vec<String> {
    let checks = text
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with(['✓', '!', '✗']));
    let named = checks.filter_map(|line| {
        line.split("  ")
            .take(2)
            .map(str::to_owned)
            .reduce(|a, b| a + &b)
    });
    named.collect()
}

#[tokio::test]
async fn the_readme_shows_what_the_doctor_says() {
    let database = Database::new().await;
    let url = database.url();
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{separator}options=-c%20statement_timeout%3D30s");
    let printed = shown(&url, "doctor").await;
    println!("{printed}");
    let shown = checks(block("advisory doctor"));
    assert!(shown.len() > 15, "{shown:?}");
    // A warning or two more, on a server that is reached in another way.
    let printed_checks = checks(&printed);
    let words = |check: &str| check.split_whitespace().skip(2).collect::<String>();
    assert_eq!(
        shown.iter().map(|check| words(check)).collect::<Vec<_>>(),
        printed_checks
            .iter()
            .map(|check| words(check))
            .collect::<Vec<_>>(),
        "{printed}"
    );
    assert!(printed.contains("! warn  statement_timeout"), "{printed}");
    assert!(
        printed.trim_end().contains("fit for advisory locks, with "),
        "{printed}"
    );
}
