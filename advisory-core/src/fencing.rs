//! A number that grows with every grant, for systems that PostgreSQL does not guard.

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection as _, Row as _};

use crate::error::{Error, UnsupportedReason};
use crate::executor::LockExecutor;
use crate::sql::fencing::{Place, write_record};
use crate::sql::origin;
use crate::sql::send::{drain, send_for_row};
use crate::sql::session::LockLevel;

/// The bits for the position. Records begin at multiples of eight bytes, so these are 8 PiB.
const POSITION_BITS: u32 = 50;

/// A number that is greater than any that was taken under the same lock before. Take it while the
/// transaction holds the lock.
///
/// A holder that has lost its lock may not know it yet, and may still write to a system that
/// PostgreSQL does not guard: an object store, another service, another database. Send the number
/// with every write, and let that system store the greatest number it has seen and refuse smaller
/// ones:
///
/// ```sql
/// UPDATE document SET body = $1, fence = $2 WHERE id = $3 AND fence <= $2
/// ```
///
/// Writes in the transaction that holds the lock need no such number: they end with the
/// transaction.
///
/// The number is the position of a record in the write-ahead log, which is written for it, after
/// the number of the server's timeline, which grows with every failover. It grows across sessions,
/// scopes, restarts and failovers to a physical standby, for all keys together, as long as each new
/// primary has followed the previous one or shares its archive: a standby that has not seen the
/// last promotion gives itself the same timeline. It needs no table and no rights. It starts again
/// where the data move to another cluster (`pg_upgrade`, a dump, logical replication). Before
/// PostgreSQL 17 the record is durable only when the transaction is committed: if the server
/// crashes and restarts, without a failover, within the second after the number was taken, the next
/// number may be smaller.
///
/// One round trip. From PostgreSQL 17 on it waits until the record is on disk; before, the commit
/// does.
///
/// ```no_run
/// use advisory_core::{AdvisoryLock, Error, fencing_token};
///
/// # async fn upload(fence: i64) {}
/// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
/// let lock = AdvisoryLock::new("report");
/// lock.transaction(pool, async |tx| {
///     let fence = fencing_token(&mut *tx).await?;
///     upload(fence).await;
///     Ok::<_, Error>(())
/// })
/// .await
/// # }
/// ```
///
/// # Errors
///
/// [`Error::NotInTransaction`] outside a transaction, where nothing is sent; for a session lock
/// there is [`SessionGuard::fencing_token`](crate::SessionGuard::fencing_token).
/// [`Error::Unsupported`] on a standby.
///
/// # Cancel safety
///
/// Cancel safe: an unused number does no harm.
pub async fn fencing_token(mut executor: impl LockExecutor) -> Result<i64, Error> {
    let conn = executor.connection();
    if !conn.is_in_transaction() {
        return Err(Error::NotInTransaction);
    }
    let message = write_record(conn.server_version_num(), Place::Transaction);
    write(conn, message).await
}

/// Who takes a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenOf {
    Holder,
    /// It is marked, so that the server shows when the term has begun while the session runs
    /// nothing else.
    Leader,
}

/// In what holds a session lock.
pub(crate) async fn token(
    conn: &mut PgConnection,
    level: LockLevel,
    of: TokenOf,
) -> Result<i64, Error> {
    let place = match level {
        LockLevel::Transaction => Place::LastingTransaction,
        LockLevel::Session if conn.is_in_transaction() => Place::Transaction,
        LockLevel::Session => Place::Session,
    };
    let message = write_record(conn.server_version_num(), place);
    let message = match of {
        TokenOf::Holder => message,
        TokenOf::Leader => origin::mark_leader(&message),
    };
    write(conn, message).await
}

async fn write(conn: &mut PgConnection, message: String) -> Result<i64, Error> {
    drain(conn).await?;
    let row = send_for_row(conn, message)
        .await
        .map_err(Error::of_message)?;
    read_token(&row)
}

/// Reads the last row of [`write_record`].
fn read_token(row: &PgRow) -> Result<i64, Error> {
    let (file, position): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
    number(file, position).ok_or_else(|| {
        let (file, position) = (file.to_owned(), position.to_owned());
        Error::unsupported(UnsupportedReason::FencingTokenOverflow { position, file })
    })
}

/// The name of a file of the log begins with the timeline; the position has two hexadecimal halves.
fn number(file: &str, position: &str) -> Option<i64> {
    let timeline = i64::from(u32::from_str_radix(file.get(..8)?, 16).ok()?);
    let (high, low) = position.split_once('/')?;
    let half = |digits| u32::from_str_radix(digits, 16).ok().map(u64::from);
    let position = i64::try_from((half(high)? << 32 | half(low)?) / 8).ok()?;
    let fits = timeline < 1 << (63 - POSITION_BITS) && position < 1 << POSITION_BITS;
    fits.then_some(timeline << POSITION_BITS | position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_position_is_a_greater_number() {
        let numbers = [
            number("000000010000000000000001", "0/15D4A80"),
            number("000000010000000000000001", "0/15D4A88"),
            number("00000001000000010000000A", "1/15D4A80"),
            number("0000000A0000000000000001", "0/8"),
        ];
        assert!(
            numbers.is_sorted_by(|a, b| a.unwrap() < b.unwrap()),
            "{numbers:?}"
        );
        assert_eq!(numbers[3], Some((10 << 50) + 1));
    }

    #[test]
    fn text_that_is_no_position_or_out_of_range_is_refused() {
        let file = "000000010000000000000001";
        for (file, position) in [
            ("", "0/0"),
            ("é000000", "0/0"),
            (file, "0"),
            (file, "0/X"),
            (file, "100000000/0"),
            (file, "200000/0"),
            ("00002000", "0/0"),
        ] {
            assert_eq!(number(file, position), None, "{file} {position}");
        }
        assert_eq!(number("00001FFF", "1FFFFF/FFFFFFFF"), Some(i64::MAX));
    }
}
