//! A program on a machine of its own, whose network can fail: a network namespace.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::unistd::Uid;

use crate::process::program::output;

/// A network namespace with a link to this one. It ends when this value is dropped, and when this
/// process ends or is killed.
pub struct Namespace {
    shell: Child,
    // The shell ends with its input.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// The names and the addresses of a link, which differ from those of other processes.
pub struct Link {
    number: u32,
}

impl Link {
    /// A link that does not exist yet. The addresses are from the range for benchmarks.
    pub fn new() -> Self {
        Self {
            number: std::process::id() & 0x7fff,
        }
    }

    /// The address of this side.
    pub fn address(&self) -> Ipv4Addr {
        self.nth_address(1)
    }

    fn nth_address(&self, n: u32) -> Ipv4Addr {
        let range = u32::from(Ipv4Addr::new(198, 18, 0, 0));
        Ipv4Addr::from(range + (self.number << 2) + n)
    }

    fn interface(&self, side: char) -> String {
        format!("adv{}{side}", self.number)
    }

    /// Creates the namespace, in which `program` is to run.
    ///
    /// # Errors
    ///
    /// Why that is not possible here.
    pub fn connect(&self, program: &mut dyn Iterator<Item = String>) -> Result<Namespace, String> {
        if !Uid::effective().is_root() {
            return Err("only root creates network namespaces".to_owned());
        }
        let (here, there) = (self.interface('a'), self.interface('b'));
        let mut shell = Command::new("unshare")
            .args([
                "--net",
                "sh",
                "-c",
                include_str!("namespace.sh"),
                "sh",
                &there,
            ])
            .arg(format!("{}/30", self.nth_address(2)))
            .args(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("`unshare`: {error}"))?;
        let commands = shell.stdin.take();
        let answers = shell.stdout.take().ok_or("a shell has an output")?;
        let pid = shell.id().to_string();
        let mut namespace = Namespace {
            shell,
            commands,
            answers: BufReader::new(answers),
        };
        namespace.expect("ready")?;
        let peer = ["peer", "name", &there, "netns", &pid];
        ip(&[&["link", "add", &here, "type", "veth"][..], &peer].concat())?;
        let address = format!("{}/30", self.address());
        ip(&["address", "add", &address, "dev", &here])?;
        ip(&["link", "set", &here, "up"])?;
        Ok(namespace)
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

impl Namespace {
    /// Starts the program.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start(&mut self) {
        self.command("started");
    }

    /// Cuts the link: packets are lost from now on, in both directions, and neither end is
    /// notified.
    ///
    /// # Panics
    ///
    /// If it cannot be cut.
    pub fn cut(&mut self) {
        self.command("cut");
    }

    fn command(&mut self, answer: &str) {
        let commands = self.commands.as_mut().expect("BUG: the shell runs");
        commands.write_all(b"\n").expect("the shell reads");
        self.expect(answer)
            .unwrap_or_else(|reason| panic!("{reason}"));
    }

    fn expect(&mut self, answer: &str) -> Result<(), String> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        read.map_err(|error| error.to_string())?;
        if line.trim_end() == answer {
            Ok(())
        } else {
            Err(format!(
                "expected `{answer}` of a network namespace, found `{line}`"
            ))
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.commands = None;
        let _ = self.shell.wait();
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    output(Command::new("ip").args(arguments)).map(drop)
}
