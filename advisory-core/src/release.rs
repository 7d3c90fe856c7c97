//! Releases the lock of a session, and gives its connection back.

use sqlx::postgres::{PgConnection, PgListener};
use sqlx::{Acquire as _, AssertSqlSafe, Executor as _, Row as _};
use tokio::time::timeout;

use crate::abandon::{GRACE, close};
use crate::executor::ready;
use crate::patience::patience;
use crate::sql::session::{self, Kept};
use crate::sql::{message, state};
use crate::vigil::Vigil;
use crate::{AdvisoryLock, Error};

/// Whether the lock was held until now; the connection is given back if nothing speaks against it, and closed otherwise.
pub(crate) async fn release(lock: AdvisoryLock, vigil: Box<Vigil>) -> Result<(), Error> {
    let was_asked = vigil.was_asked();
    let (mut session, kept) = (vigil.session, vigil.kept);
    if !answers_in_time(&mut session).await {
        close(session);
        // Either the server does not answer what a watcher has asked, or a statement that was given up still runs; that one the
        // server ends with the connection, and the lock with both.
        return if was_asked { Err(lock.loss()) } else { Ok(()) };
    }
    let unlocked = timeout(
        patience(lock.probe_interval()),
        unlock(&lock, &kept, &mut session),
    )
    .await;
    match unlocked {
        Ok(Ok(Released {
            held: true,
            in_transaction: false,
        })) => Ok(()),
        Ok(Ok(Released { held, .. })) => {
            close(session);
            if held { Ok(()) } else { Err(lock.loss()) }
        }
        Ok(Err(error)) if !state::is_loss(&error) => {
            close(session);
            Err(Error::Database(error))
        }
        Ok(Err(_)) | Err(_) => {
            close(session);
            Err(lock.loss())
        }
    }
}

/// Whether all that was asked before has been answered within the grace period; a connection that fails answers, too.
async fn answers_in_time(session: &mut PgListener) -> bool {
    let answered = async { ready(session.acquire().await?).await };
    timeout(GRACE, answered).await.is_ok()
}

struct Released {
    held: bool,
    in_transaction: bool,
}

async fn unlock(
    lock: &AdvisoryLock,
    kept: &Kept,
    session: &mut PgListener,
) -> Result<Released, sqlx::Error> {
    let conn = session.acquire().await?;
    let released = match ask(lock, kept, conn).await {
        Err(error) if state::is_aborted_before(&error) => {
            conn.execute(message::ROLLBACK).await?;
            Released {
                in_transaction: true,
                ..ask(lock, kept, conn).await?
            }
        }
        released => released?,
    };
    if released.in_transaction {
        tracing::warn!(%lock, "released inside an open transaction, which is rolled back: commit before you release");
    }
    Ok(released)
}

async fn ask(
    lock: &AdvisoryLock,
    kept: &Kept,
    conn: &mut PgConnection,
) -> Result<Released, sqlx::Error> {
    let message = session::unlock(lock, kept);
    let rows = conn
        .fetch_all(sqlx::raw_sql(AssertSqlSafe(message)))
        .await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(Released {
        held: row.try_get(0)?,
        in_transaction: row.try_get(1)?,
    })
}
