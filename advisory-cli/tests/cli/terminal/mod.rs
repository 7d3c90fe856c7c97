//! Terminals on which the command runs.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use nix::pty::{OpenptyResult, Winsize, openpty};
use tokio::process::Command;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::command::with_url;

/// A shell line on a terminal of 24 rows and so many columns, which script(1) provides. What is
/// written to its standard input is typed.
pub(crate) fn with_terminal(database_url: &str, columns: u16, line: &str) -> Command {
    let mut script = Command::new("script");
    let line = format!("stty rows 24 cols {columns}; {line}");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    script.env("TERM", "xterm-256color");
    with_url(script, database_url, &[])
}

/// A terminal of 80 columns.
pub(crate) struct Terminal {
    ours: File,
    theirs: OwnedFd,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        Self {
            ours: master.into(),
            theirs: slave,
        }
    }

    /// The command's end.
    pub(crate) fn end(&self) -> OwnedFd {
        self.theirs.try_clone().unwrap()
    }

    pub(crate) fn enter(&mut self, line: &str) {
        writeln!(self.ours, "{line}").unwrap();
    }

    /// Runs a command to its end, and returns what it shows.
    pub(crate) async fn show(self, mut command: Command) -> String {
        let mut child = command.stdout(self.end()).spawn().unwrap();
        drop(command);
        let shown = self.read();
        child.wait().await.unwrap();
        shown.await.unwrap()
    }

    /// Reads until the last command has ended.
    fn read(mut self) -> JoinHandle<String> {
        drop(self.theirs);
        spawn_blocking(move || {
            let (mut shown, mut part) = (Vec::new(), [0; 4096]);
            // On Linux, reading fails once no process has the terminal open.
            while let Ok(read @ 1..) = self.ours.read(&mut part) {
                shown.extend_from_slice(&part[..read]);
            }
            String::from_utf8(shown).unwrap()
        })
    }
}
