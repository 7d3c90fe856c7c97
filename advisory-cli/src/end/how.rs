//! Cancel, or terminate.

use advisory_core::{Error, monitor};
use sqlx::postgres::PgPool;

use super::victim::Victim;
use crate::exit::{Code, Failure};

/// What is done to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// `pg_cancel_backend`: what it does now.
    Cancel,
    /// `pg_terminate_backend`: the session.
    Terminate,
}

impl How {
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Terminate => "terminate",
        }
    }

    /// Refuses what cannot come to anything.
    pub(super) fn check(self, victim: Victim) -> Result<Victim, Failure> {
        if let Some(gid) = victim.prepared() {
            let (locks, database) = (victim.locks(), victim.database());
            return Err(Failure::new(
                Code::Failure,
                format!(
                    "the prepared transaction `{gid}` holds {locks}, and has no session; end it with \
                     `ROLLBACK PREPARED '{}'` in database `{database}`",
                    gid.replace('\'', "''")
                ),
            ));
        }
        if self == Self::Cancel && victim.is_idle() {
            let (pid, locks) = (victim.pid, victim.locks());
            return Err(Failure::new(
                Code::Failure,
                format!(
                    "pid {pid} holds {locks} and is idle: there is nothing to cancel; `advisory terminate {pid}` ends its session"
                ),
            ));
        }
        Ok(victim)
    }

    /// Sends the signal. False if the session has nothing to do with locks any more.
    pub(super) async fn tell(self, pool: &PgPool, victim: &Victim) -> Result<bool, Failure> {
        let told = match self {
            Self::Cancel => monitor::cancel(pool, victim.pid).await,
            Self::Terminate => monitor::terminate(pool, victim.pid).await,
        };
        told.map_err(|error| self.failure(victim, error))
    }

    fn failure(self, victim: &Victim, error: Error) -> Failure {
        let cause = error.to_string();
        let failure = Failure::from(error);
        if failure.code() != Code::Forbidden {
            return failure;
        }
        let (verb, pid, owner) = (self.verb(), victim.pid, victim.user());
        let message = format!(
            "this role may not {verb} pid {pid} of role `{owner}` ({cause}); do it as `{owner}`, as a member of \
             `pg_signal_backend` if that is no superuser, or as a superuser"
        );
        Failure::new(Code::Forbidden, message)
    }
}
