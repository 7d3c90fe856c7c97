//! `advisory ls`: who holds what, and who waits.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use sqlx::postgres::PgPool;

use crate::exit::Failure;
use crate::listing::listing;
use crate::names::Names;
use crate::output;
use crate::record::Record;
use crate::seconds;
use crate::server::Server;
use crate::view::{Scope, View};
use crate::watch::watch;

/// Who holds advisory locks, and who waits for them.
///
/// A key has a name if a names file, the session that holds it (`AdvisoryLock::tag_session`) or a tool that is known explains it.
/// `held 3 min` is the age of the holder's transaction: PostgreSQL does not note when a lock is granted. What a role may not see of
/// other roles' sessions (state, query, client) is left out; membership in `pg_read_all_stats` shows it.
#[derive(Args, Clone)]
#[command(after_help = "\
Examples:
  advisory ls --names names.txt
  advisory ls --blocked --watch
  advisory ls --json | jq '.[] | select(.granted and .state == \"idle in transaction\")'")]
pub(crate) struct Ls {
    /// Look again every so many seconds: in place on a terminal, where `q` ends it, and one after the other elsewhere.
    #[arg(long, short, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = seconds::interval)]
    watch: Option<Duration>,
    /// Only locks that somebody waits for.
    #[arg(long, short)]
    blocked: bool,
    /// Only those of sessions of the role that looks.
    #[arg(long, short)]
    mine: bool,
    /// As JSON: an array of locks; with `--watch`, one on each line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    scope: Scope,
}

pub(crate) async fn ls(server: &Server, args: Ls) -> Result<ExitCode, Failure> {
    let mut look = Look {
        names: Names::read(&args.scope.names)?,
        role: server.options()?.get_username().to_owned(),
        pool: server.connect(1).await?,
        args,
    };
    match look.args.watch {
        Some(interval) => watch(&mut look, interval).await?,
        None if look.args.json => output::json(&records(&look.view().await?))?,
        None => output::line(look.text(None).await?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What is to be seen, again and again.
pub(crate) struct Look {
    args: Ls,
    names: Names,
    role: String,
    pool: PgPool,
}

impl Look {
    /// The table, at most so wide where it has to fit, and as wide as the terminal otherwise.
    pub(crate) async fn text(&mut self, width: Option<usize>) -> Result<String, Failure> {
        let view = self.view().await?;
        if view.is_empty() {
            return Ok(self.nothing());
        }
        let width = width.or_else(output::width);
        let table = listing(&view, self.args.scope.all_databases, width);
        Ok(table.trim_fmt())
    }

    /// One line of JSON, if that is what is asked for.
    pub(crate) async fn json(&mut self) -> Option<Result<String, Failure>> {
        if !self.args.json {
            return None;
        }
        let view = self.view().await;
        Some(view.and_then(|view| output::json_line(&records(&view))))
    }

    async fn view(&mut self) -> Result<View, Failure> {
        let mut view = View::look(&self.pool, &self.args.scope, &mut self.names).await?;
        if self.args.blocked {
            view.retain_blocked();
        }
        if self.args.mine {
            view.retain(|lock| lock.user.as_ref() == Some(&self.role));
        }
        Ok(view)
    }

    fn nothing(&self) -> String {
        let place = self.args.scope.place();
        let who = if self.args.mine {
            "no session of yours"
        } else {
            "nobody"
        };
        let verb = if self.args.blocked {
            "waits for"
        } else {
            "holds"
        };
        format!("{who} {verb} an advisory lock {place}")
    }
}

fn records(view: &View) -> Vec<Record<'_>> {
    view.locks()
        .map(|(lock, name)| Record::new(lock, name))
        .collect()
}
