//! `advisory tree`: who waits for whom.

use std::collections::HashSet;
use std::process::ExitCode;

use advisory_core::Key;
use advisory_core::monitor::LockStatus;
use anstyle::{AnsiColor, Style};
use clap::Args;

use crate::age::age;
use crate::exit::Failure;
use crate::listing::{application, state};
use crate::names::{Name, Names};
use crate::output;
use crate::server::Server;
use crate::view::{Scope, View};

/// Who waits for whom, from the session that blocks the others down.
///
/// Under each lock that somebody waits for stand the sessions that hold it and those that wait, the longest first; under each
/// session the other locks that it holds and others wait for. To end a wait: `advisory cancel PID`; to free what a session
/// holds: `advisory terminate PID`.
#[derive(Args, Clone)]
pub(crate) struct Tree {
    #[command(flatten)]
    scope: Scope,
}

pub(crate) async fn tree(server: &Server, args: Tree) -> Result<ExitCode, Failure> {
    let mut names = Names::read(&args.scope.names)?;
    let pool = server.connect(1).await?;
    let mut view = View::look(&pool, &args.scope, &mut names).await?;
    view.retain_blocked();
    if view.is_empty() {
        let place = args.scope.place();
        output::line(format!("nobody waits for an advisory lock {place}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    for tree in Forest::new(&view, args.scope.all_databases).trees() {
        output::line(tree.to_string().trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A key, where it is one.
type Place<'v> = (&'v str, Key);

/// Who holds or waits; a prepared transaction has no process, but a name.
type Session<'v> = (i32, Option<&'v str>);

/// The locks that are waited for, each of which is drawn once.
struct Forest<'v> {
    locks: Vec<(&'v LockStatus, Option<&'v Name>)>,
    databases: bool,
    drawn: HashSet<Place<'v>>,
}

impl<'v> Forest<'v> {
    fn new(view: &'v View, databases: bool) -> Self {
        Self {
            locks: view.locks().collect(),
            databases,
            drawn: HashSet::new(),
        }
    }

    /// First the locks none of whose holders waits itself; where all wait in a circle, any.
    fn trees(mut self) -> Vec<termtree::Tree<String>> {
        let mut places: Vec<_> = self.locks.iter().map(|(lock, _)| place(lock)).collect();
        places.dedup();
        let (roots, others): (Vec<_>, Vec<_>) = places.into_iter().partition(|root| {
            let mut holders = self.at(*root).filter(|(lock, _)| lock.granted);
            !holders.any(|(lock, _)| self.waits(session(lock)))
        });
        let mut trees = Vec::new();
        for root in roots.into_iter().chain(others) {
            trees.extend(self.tree(root, None));
        }
        trees
    }

    /// A lock with its holders and its queue, but for the session under which it stands; `None` if it was drawn before.
    fn tree(
        &mut self,
        root: Place<'v>,
        parent: Option<Session<'v>>,
    ) -> Option<termtree::Tree<String>> {
        if !self.drawn.insert(root) {
            return None;
        }
        let here: Vec<_> = self.at(root).collect();
        let mut tree = termtree::Tree::new(self.title(here[0].0, here[0].1));
        for (lock, _) in here {
            if parent != Some(session(lock)) {
                tree.push(self.branch(lock));
            }
        }
        Some(tree)
    }

    /// A session with the other locks that it holds.
    fn branch(&mut self, lock: &'v LockStatus) -> termtree::Tree<String> {
        let mut branch = termtree::Tree::new(line(lock));
        let held: Vec<_> = self
            .locks
            .iter()
            .filter(|(other, _)| other.granted && session(other) == session(lock))
            .map(|(other, _)| place(other))
            .collect();
        for other in held {
            if let Some(tree) = self.tree(other, Some(session(lock))) {
                branch.push(tree);
            }
        }
        branch
    }

    fn at(&self, root: Place<'v>) -> impl Iterator<Item = (&'v LockStatus, Option<&'v Name>)> {
        let locks = self.locks.iter().copied();
        locks.filter(move |(lock, _)| place(lock) == root)
    }

    fn waits(&self, who: Session<'v>) -> bool {
        let mut locks = self.locks.iter();
        locks.any(|(lock, _)| !lock.granted && session(lock) == who)
    }

    fn title(&self, lock: &LockStatus, name: Option<&Name>) -> String {
        let bold = Style::new().bold();
        let key = lock.key;
        let title = match name {
            Some(name) => format!("{bold}{}{bold:#} {key}", name.text),
            None => format!("{bold}{key}{bold:#}"),
        };
        if self.databases {
            format!("{title} in {}", lock.database)
        } else {
            title
        }
    }
}

fn line(lock: &LockStatus) -> String {
    let (verb, hue) = if lock.granted {
        ("holds", AnsiColor::Green)
    } else {
        ("waits", AnsiColor::Yellow)
    };
    let colour = hue.on_default();
    let who = match lock.pid {
        0 => String::new(),
        pid => format!(" {pid}"),
    };
    let since = lock.since.filter(|_| !lock.granted).map(age);
    let about = [
        application(lock),
        lock.user.clone(),
        Some(lock.mode.to_string()),
        since.or_else(|| state(lock)),
    ];
    let about: Vec<_> = about.into_iter().flatten().collect();
    format!("{colour}{verb}{colour:#}{who}  {}", about.join(", "))
}

fn place(lock: &LockStatus) -> Place<'_> {
    (&lock.database, lock.key)
}

fn session(lock: &LockStatus) -> Session<'_> {
    (lock.pid, lock.prepared.as_deref())
}
