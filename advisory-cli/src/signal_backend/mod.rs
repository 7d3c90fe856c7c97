//! `advisory cancel` and `advisory terminate`: end the waits or the sessions that block others.

mod action;
mod confirm;
mod outcome;
mod selection;
mod session;

use std::process::ExitCode;

use clap::Args;
use sqlx::postgres::PgPool;

pub(crate) use self::action::Action;
use self::selection::Selection;
use self::session::Session;
use crate::exit::Failure;
use crate::server::Server;

#[derive(Args)]
pub(crate) struct SignalBackend {
    #[command(flatten)]
    selection: Selection,
    /// Do not ask for confirmation.
    #[arg(long, short)]
    yes: bool,
}

impl SignalBackend {
    /// Every failure is reported, and the first one decides the exit code.
    pub(crate) async fn run(self, server: &Server, action: Action) -> Result<ExitCode, Failure> {
        let pool = server.connect(1).await?;
        let mut sessions = Vec::new();
        let mut code = None;
        for found in self.selection.find(&pool, action).await? {
            match found.and_then(|session| session.check(action)) {
                Ok(session) => sessions.push(session),
                Err(failure) => record(&mut code, &failure),
            }
        }
        // Waiters first: if the holder ended first, a waiter would get the lock and be skipped.
        sessions.sort_by_key(|session| !session.is_waiting());
        if !sessions.is_empty() {
            session::print(&sessions)?;
            if !self.yes {
                confirm::confirm(action, sessions.len())?;
            }
        }
        for session in &sessions {
            if let Err(failure) = signal(&pool, action, session).await {
                record(&mut code, &failure);
            }
        }
        Ok(code.unwrap_or(ExitCode::SUCCESS))
    }
}

fn record(code: &mut Option<ExitCode>, failure: &Failure) {
    let failure_code = failure.report();
    code.get_or_insert(failure_code);
}

/// Signals a session, and waits for the outcome.
async fn signal(pool: &PgPool, action: Action, session: &Session) -> Result<(), Failure> {
    if session.signal(pool, action).await? {
        return outcome::wait(pool, action, session).await;
    }
    let pid = session.pid;
    Err(Failure::other(format!(
        "pid {pid} has moved on; nothing was sent to it"
    )))
}
