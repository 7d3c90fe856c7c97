//! The commands of docs/RECIPES.md survive an outage of the server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use advisory_tests::{Database, Server, Shutdown, by_depth};
use nix::sys::signal::Signal;
use tokio::process::Command;
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::command::{ADVISORY, Outcome, Running, advisory};

const RECIPES: &str = include_str!("../../../../docs/RECIPES.md");

/// A program that runs until it is told to end by a file.
const PROGRAM: &str = "#!/bin/sh\n\
    echo began; while [ ! -e end ]; do sleep 0.05; done; echo ended\n";

/// A machine with the programs that the recipes name.
struct Machine {
    folder: tempfile::TempDir,
    url: String,
}

impl Machine {
    fn new(database: &Database) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["nightly", "sync", "export.sh", "scheduler"] {
            let program = folder.path().join(name);
            fs::write(&program, PROGRAM).unwrap();
            fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let url = database.url();
        Self { folder, url }
    }

    /// Runs a command of the page as cron and a shell do, except for the server and the place of
    /// the programs.
    fn run(&self, beginning: &str) -> Running {
        let command = command(beginning).replace("/usr/local/bin/", "./");
        let mut shell = Command::new("sh");
        // In place of the shell, so that signals reach the command.
        shell.args(["-c", &format!("exec {command}")]);
        let path = std::env::var("PATH").unwrap();
        let folder = Path::new(ADVISORY).parent().unwrap().display();
        shell.env("PATH", format!("{folder}:{path}"));
        shell.env("DATABASE_URL", &self.url);
        shell.current_dir(self.folder.path());
        Running::start(shell)
    }

    async fn began(&self, beginning: &str) -> Running {
        let mut running = self.run(beginning);
        assert_eq!(running.line().await, "began", "{beginning}");
        running
    }

    async fn outcome(&self, beginning: &str) -> Outcome {
        self.run(beginning).end().await
    }

    /// Ends the programs.
    fn end_programs(&self) {
        fs::write(self.folder.path().join("end"), "").unwrap();
    }
}

/// The command of the page that begins with these words, in a crontab or in the text.
fn command(beginning: &str) -> &'static str {
    let found = RECIPES.find(beginning);
    let found = found.unwrap_or_else(|| panic!("`{beginning}` is not in RECIPES.md"));
    let (command, _) = RECIPES[found..].split_once(['\n', '`']).unwrap();
    command
}

const NIGHTLY: &str = "advisory run --every 1d";
const SYNC: &str = "advisory run --skip --at-least";
const EXPORT: &str = "advisory run --permits";
const LEAD: &str = "advisory lead";

/// What `run` does when its server ends, and while it is away.
async fn outage(machine: &Machine, server: &Server, time: Duration) {
    let mut running = Vec::new();
    for run in [NIGHTLY, SYNC, EXPORT] {
        running.push(machine.began(run).await);
    }
    server.stop(Shutdown::Immediate).await;
    for running in running {
        running.end().await.assert_fails(76, &["was lost"]);
    }
    for run in [NIGHTLY, SYNC, EXPORT] {
        let refused = machine.outcome(run).await;
        refused.assert_only_fails(69, "cannot connect to ");
    }
    sleep(time).await;
    server.restart(Shutdown::Immediate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_recipes_work_again_after_an_outage() {
    let server = block_in_place(Server::start).unwrap();
    let database = Database::on(&server).await;
    advisory(&database, &["setup"]).await.assert_silent(0);
    let machine = Machine::new(&database);
    let mut leader = machine.began(LEAD).await;
    let time = by_depth(Duration::from_secs(2), Duration::from_secs(48));
    outage(&machine, &server, time).await;

    assert_eq!(leader.line().await, "began", "it leads again");
    let [nightly, sync, export] = [
        machine.began(NIGHTLY).await,
        machine.began(SYNC).await,
        machine.began(EXPORT).await,
    ];
    machine.end_programs();
    for running in [nightly, export] {
        let outcome = running.end().await;
        outcome.assert_silent(0);
        assert_eq!(outcome.text(), "ended\n");
    }
    let again = machine.outcome(NIGHTLY).await;
    again.assert_silent(0);
    assert_eq!(again.text(), "", "it has succeeded in this period");
    let mut sync = sync;
    assert_eq!(sync.line().await, "ended");
    // Another machine is a little late.
    let late = machine.outcome(SYNC).await;
    late.assert_silent(0);
    assert_eq!(late.text(), "", "the lock is kept for a minute");
    sync.signal(Signal::SIGTERM);
    sync.end().await.assert_silent(0);
    let led = leader.end().await;
    assert_eq!((led.code, led.text()), (0, "ended\n"), "{led:?}");
    database.assert_nothing_left().await;
}
