//! docs/COMMAND.md shows what `ls`, `tree` and `doctor` print.

use advisory_core::scheme::DjangoPglock;
use advisory_core::{Key, KeyScheme as _};
use advisory_tests::Database;
use sqlx::{Executor as _, PgConnection};
use tokio::task::JoinHandle;

use crate::command::{ADVISORY, assert_contains, names_file, output_of, printed};
use crate::session::{holder, session, take_lock, wait, with_locks};
use crate::terminal::with_terminal;

/// One session idles while it holds a lock, a chain waits behind it, two sessions share a lock, and
/// one session holds many locks.
struct Sessions {
    _sessions: Vec<PgConnection>,
    waiting: Vec<JoinHandle<PgConnection>>,
}

async fn start_sessions(database: &Database) -> Sessions {
    let mut sessions = vec![holder(database, "billing", Key::from("sync(4)")).await];
    let web = holder(database, "web", Key::from("report")).await;
    let web = wait(database, web, Key::from("sync(4)"), 1).await;
    let cron = session(database, "cron").await;
    let cron = wait(database, cron, Key::from("report"), 2).await;
    for reader in ["django-1", "django-2"] {
        let mut conn = session(database, reader).await;
        take_lock(&mut conn, true, DjangoPglock.key("catalogue")).await;
        sessions.push(conn);
    }
    sessions.push(with_locks(database, "worker", 20).await);
    Sessions {
        _sessions: sessions,
        waiting: vec![web, cron],
    }
}

/// The output on a terminal of 112 columns.
async fn on_terminal(url: &str, arguments: &str) -> String {
    let mut script = with_terminal(url, 112, &format!("{ADVISORY} {arguments}"));
    script.env("NO_COLOR", "1");
    let outcome = output_of(script).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.text().replace('\r', "")
}

/// The text with `N` for each number and time, and without widths, which differ from run to run.
pub(crate) fn masked(text: &str) -> Vec<String> {
    let has_text = |line: &&str| !line.trim().is_empty() && !line.starts_with("^D");
    let text = text.replace(|c: char| c.is_ascii_digit(), "N");
    let text = text.replace([',', ':'], "");
    let words = |line: &str| {
        let mut words: Vec<_> = line.split_whitespace().map(shortest).collect();
        words.retain(|word| !["ms", "s", "min", "h"].contains(&&**word));
        words.dedup();
        words.join(" ")
    };
    text.lines().filter(has_text).map(words).collect()
}

/// The word with one `N` for several.
fn shortest(word: &str) -> String {
    let mut letters: Vec<_> = word.chars().collect();
    letters.dedup_by(|next, letter| *next == 'N' && *letter == 'N');
    letters.into_iter().collect()
}

#[tokio::test]
async fn the_page_shows_the_output_of_ls_and_tree() {
    let database = Database::new().await;
    let sessions = start_sessions(&database).await;
    let names = names_file("sync({1..500})\nreport\ncatalogue\n");
    let path = names.to_str().unwrap();
    for subcommand in ["ls", "tree"] {
        let arguments = format!("{subcommand} --names {path}");
        let printed = on_terminal(&database.url(), &arguments).await;
        println!("{printed}");
        let shown = block(&format!("advisory {subcommand} --names names.txt"));
        assert_eq!(masked(shown), masked(&printed), "{printed}");
    }
    sessions.waiting.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn the_page_shows_the_output_of_explain() {
    let database = Database::new().await;
    let mut billing = holder(&database, "billing", Key::from("sync(4)")).await;
    for statement in [
        "CREATE TEMP TABLE billing(client int, invoice int)",
        "SELECT invoice FROM billing WHERE client = 4",
    ] {
        billing.execute(statement).await.unwrap();
    }
    let web = session(&database, "web").await;
    let waits = wait(&database, web, Key::from("sync(4)"), 1).await;
    let printed = printed(&database, &["explain", "sync(4)"]).await;
    let shown = block("advisory explain 'sync(4)'");
    let printed = printed.replace(database.name(), "app");
    assert_eq!(masked(shown), masked(&printed), "{printed}");
    waits.abort();
}

/// The output that docs/COMMAND.md shows below a command.
pub(crate) fn block(command: &str) -> &'static str {
    let page = include_str!("../../../../docs/COMMAND.md");
    let (_, rest) = page
        .split_once(&format!("$ {command}\n"))
        .unwrap_or_else(|| panic!("the page shows `{command}`"));
    let (block, _) = rest.split_once("```").expect("the block ends");
    block.split("\n$ ").next().unwrap_or_default()
}

/// The status and the name of each check. What is found differs from server to server.
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
async fn the_page_shows_the_output_of_doctor() {
    let database = Database::new().await;
    let url = database.url();
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{separator}options=-c%20statement_timeout%3D30s");
    let printed = on_terminal(&url, "doctor").await;
    println!("{printed}");
    let shown = checks(block("advisory doctor"));
    assert!(shown.len() > 15, "{shown:?}");
    // The status is not compared: a server that is reached in another way has more warnings.
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
    assert_contains(
        &printed,
        &["! warn  statement_timeout", "fit for advisory locks, with "],
    );
}
