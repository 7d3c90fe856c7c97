//! `advisory tree`: which session waits for which.

use std::collections::HashSet;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::Args;

use super::empty;
use super::snapshot::{self, NamedLock, Scope};
use crate::duration::age;
use crate::exit::Failure;
use crate::lock_status::{LockId, SessionId, application, session_id, state};
use crate::output::{self, printable};
use crate::server::Server;
use crate::sql;

/// Show who waits for whom, from the session that blocks the others down.
///
/// Under each lock that a session waits for are the sessions that hold it and those that wait, the
/// longest wait first. Under each session are the other locks that it holds and that others wait
/// for. `advisory cancel PID` ends a wait; `advisory terminate PID` frees what a session holds.
#[derive(Args, Clone)]
pub(crate) struct Tree {
    #[command(flatten)]
    scope: Scope,
}

impl Tree {
    pub(crate) async fn run(self, server: &Server) -> Result<ExitCode, Failure> {
        let mut names = self.scope.read_names()?;
        let pool = server.connect(1).await?;
        let mut locks = snapshot::take(&pool, &self.scope, &mut names).await?;
        locks.retain(|row| row.is_awaited);
        if locks.is_empty() {
            let elsewhere = snapshot::elsewhere(&pool, &self.scope, &mut names).await?;
            let elsewhere = elsewhere.iter().filter(|row| row.is_awaited);
            let (_, database) = sql::own_names(&mut *pool.acquire().await?).await?;
            let place = empty::place(&database, &self.scope, elsewhere);
            let lock = self.scope.subject();
            output::print_line(format!("nobody waits for {lock} {place}"))?;
        }
        let forest = Forest {
            rows: &locks,
            with_database: self.scope.all_databases,
            drawn: HashSet::new(),
        };
        for tree in forest.trees() {
            output::print_line(tree.to_string().trim_end())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The locks that sessions wait for, each of which is drawn once.
struct Forest<'s> {
    rows: &'s [NamedLock],
    with_database: bool,
    drawn: HashSet<LockId<'s>>,
}

impl<'s> Forest<'s> {
    /// Draws first the locks whose holders do not wait. What remains are cycles, which start at any
    /// of their locks.
    fn trees(mut self) -> Vec<termtree::Tree<String>> {
        let mut ids: Vec<_> = self.rows.iter().map(NamedLock::whole).collect();
        ids.dedup();
        let (roots, others): (Vec<_>, Vec<_>) = ids.into_iter().partition(|&id| {
            let is_holder = |row: &&NamedLock| !row.waits() && row.whole() == id;
            let mut holders = self.rows.iter().filter(is_holder);
            !holders.any(|row| self.waits(session_id(&row.lock)))
        });
        let ids = roots.into_iter().chain(others);
        ids.filter_map(|id| self.tree(id, None)).collect()
    }

    /// A lock with its holders and its queue, without the session that it is drawn under. `None` if
    /// the lock is already drawn.
    fn tree(
        &mut self,
        id: LockId<'s>,
        parent: Option<SessionId<'s>>,
    ) -> Option<termtree::Tree<String>> {
        if !self.drawn.insert(id) {
            return None;
        }
        let rows = self.rows.iter();
        let rows: Vec<_> = rows.filter(|row| row.whole() == id).collect();
        let mut tree = termtree::Tree::new(self.title(rows.first()?));
        for row in rows {
            if parent != Some(session_id(&row.lock)) {
                tree.push(self.branch(row));
            }
        }
        Some(tree)
    }

    /// A session with the other locks that it holds.
    fn branch(&mut self, row: &'s NamedLock) -> termtree::Tree<String> {
        let session = session_id(&row.lock);
        let held = self.rows.iter();
        let held = held.filter(|other| !other.waits() && session_id(&other.lock) == session);
        let trees = held.filter_map(|other| self.tree(other.whole(), Some(session)));
        termtree::Tree::new(describe(row)).with_leaves(trees.collect::<Vec<_>>())
    }

    fn waits(&self, session: SessionId<'s>) -> bool {
        let mut rows = self.rows.iter();
        rows.any(|row| row.waits() && session_id(&row.lock) == session)
    }

    fn title(&self, row: &NamedLock) -> String {
        let bold = Style::new().bold();
        let (database, key) = row.whole();
        let title = match row.whole_name() {
            Some(name) => format!("{bold}{}{bold:#} {key}", printable(name)),
            None => format!("{bold}{key}{bold:#}"),
        };
        if self.with_database {
            format!("{title} in {}", printable(database))
        } else {
            title
        }
    }
}

fn describe(row: &NamedLock) -> String {
    let lock = &row.lock;
    let (verb, colour) = if row.waits() {
        ("waits", AnsiColor::Yellow.on_default())
    } else {
        ("holds", AnsiColor::Green.on_default())
    };
    let pid = match lock.pid {
        0 => String::new(),
        pid => format!(" {pid}"),
    };
    let slot = row.slot.filter(|slot| *slot > 0);
    let waited = if row.is_first_in_queue() {
        Some("the first in the queue".to_owned())
    } else {
        lock.waiting_for.map(age)
    };
    let details = [
        slot.map(|slot| format!("slot {slot}")),
        application(lock),
        lock.user.clone(),
        Some(lock.mode.to_string()),
        waited.or_else(|| state(lock)),
    ];
    let details: Vec<_> = details.into_iter().flatten().collect();
    let details = printable(&details.join(", "));
    format!("{colour}{verb}{colour:#}{pid}  {details}")
}
