//! `advisory ls`: the locks that are held and waited for.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use sqlx::postgres::PgPool;

use super::snapshot::{self, NamedLock, Scope};
use super::{empty, foreign, row, table, watch};
use crate::acquire::Signals;
use crate::duration;
use crate::exit::Failure;
use crate::names::Names;
use crate::output;
use crate::server::Server;
use crate::sql;

/// List advisory locks, with the sessions that hold them and those that wait for them.
///
/// A key has a name if a names file, the session that holds it (`AdvisoryLock::tag_session`) or a
/// known tool explains it. `held 3 min` is the age of the holder's transaction: PostgreSQL does not
/// record when a lock is granted. Columns that the role may not see for sessions of other roles
/// (state, query, client) are empty; members of `pg_read_all_stats` see them. The query is empty,
/// too, if the session has run nothing since this library asked for the lock.
///
/// On a terminal that is too narrow, columns are left out, in this order: the query, the client,
/// the user, the key of a lock with a name, the mode, the state, the application, the database.
#[derive(Args, Clone)]
#[command(after_help = "\
Examples:
  advisory ls --names names.txt
  advisory ls export
  advisory ls --blocked --watch
  advisory ls --json | jq '.[] | select(.granted and .state == \"idle in transaction\")'")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of the command"
)]
pub(crate) struct Ls {
    /// Refresh the list every 2 seconds, or at the interval that follows a `=`: `--watch=0.5`. On a
    /// terminal, the list is redrawn in place until `q` is pressed; elsewhere, the lists follow one
    /// another.
    #[arg(long, short, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2", value_parser = duration::parse_interval)]
    watch: Option<Duration>,
    /// Show only locks that a session waits for.
    #[arg(long, short)]
    blocked: bool,
    /// Show only locks of sessions of the role that connects.
    #[arg(long, short)]
    mine: bool,
    /// Show a row for every lock, and the locks that extensions have taken with keys of their own.
    /// Without this option, a session that holds more than 10 locks that nobody waits for has one
    /// row for all of these. `--json` always has every lock except those of extensions.
    #[arg(long, visible_alias = "all")]
    all_locks: bool,
    /// Print an array of locks as JSON; with `--watch`, an array on each line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    scope: Scope,
}

impl Ls {
    pub(crate) async fn run(self, server: &Server) -> Result<ExitCode, Failure> {
        let names = self.scope.read_names()?;
        let pool = server.connect(1).await?;
        let (role, database) = sql::own_names(&mut *pool.acquire().await?).await?;
        let mut list = List {
            names,
            role,
            database,
            pool,
            args: self,
        };
        match list.args.watch {
            Some(interval) if list.args.json => {
                watch::follow(interval, "", async || {
                    output::json_line(&list.locks().await?)
                })
                .await?;
            }
            Some(interval) if output::is_terminal() => {
                let mut signals = Signals::catch()?;
                let table = async |width| list.table(Some(width)).await;
                let redrawn = watch::redraw(interval, &mut signals, table);
                redrawn.await.map_err(|error| {
                    Failure::other(format!("the terminal does not answer: {error}"))
                })?;
            }
            Some(interval) => {
                watch::follow(interval, "\n", async || list.table(None).await).await?;
            }
            None if list.args.json => output::print_json(&list.locks().await?)?,
            None => output::print_line(list.table(None).await?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The list, which is read from the server each time that it is shown.
struct List {
    args: Ls,
    names: Names,
    role: String,
    database: String,
    pool: PgPool,
}

impl List {
    /// The table. Without a `width`, it is as wide as the terminal, if there is one.
    async fn table(&mut self, width: Option<usize>) -> Result<String, Failure> {
        let list = self.list(width).await?;
        let Ls {
            all_locks,
            blocked,
            mine,
            ..
        } = self.args;
        if !all_locks || blocked || mine || self.args.scope.name.is_some() {
            return Ok(list);
        }
        let foreign = foreign::table(&self.pool, &self.args.scope).await?;
        let parts = [list, foreign].into_iter().filter(|part| !part.is_empty());
        Ok(parts.collect::<Vec<_>>().join("\n\n"))
    }

    async fn list(&mut self, width: Option<usize>) -> Result<String, Failure> {
        let locks = self.locks().await?;
        if locks.is_empty() {
            return self.empty_message().await;
        }
        let width = width.or_else(output::terminal_width);
        let rows = row::of_locks(&locks, self.args.all_locks);
        Ok(table::draw(&rows, self.args.scope.all_databases, width).trim_fmt())
    }

    async fn locks(&mut self) -> Result<Vec<NamedLock>, Failure> {
        let mut locks = snapshot::take(&self.pool, &self.args.scope, &mut self.names).await?;
        locks.retain(|row| self.is_listed(row));
        Ok(locks)
    }

    fn is_listed(&self, row: &NamedLock) -> bool {
        let is_mine = || row.lock.user.as_ref() == Some(&self.role);
        (!self.args.blocked || row.is_awaited) && (!self.args.mine || is_mine())
    }

    async fn empty_message(&mut self) -> Result<String, Failure> {
        let Ls { mine, blocked, .. } = self.args;
        let subject = if mine {
            "no session of yours"
        } else {
            "nobody"
        };
        let verb = if blocked { "waits for" } else { "holds" };
        let (scope, names) = (&self.args.scope, &mut self.names);
        let elsewhere = snapshot::elsewhere(&self.pool, scope, names).await?;
        let elsewhere = elsewhere.iter().filter(|row| self.is_listed(row));
        let place = empty::place(&self.database, &self.args.scope, elsewhere);
        let lock = self.args.scope.subject();
        Ok(format!("{subject} {verb} {lock} {place}"))
    }
}
