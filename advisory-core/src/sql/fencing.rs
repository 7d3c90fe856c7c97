//! A fencing token is a position in the write-ahead log.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::REFUSE_STANDBY;
use crate::error::{Error, UnsupportedReason};

/// From this version on, a record can be flushed at once.
const CAN_FLUSH: u32 = 17_00_00;

/// The bits for the position. Records begin at multiples of eight bytes, so these are 8 PiB.
const POSITION_BITS: u32 = 50;

/// Writes a record. The last row is its position.
///
/// Before [`CAN_FLUSH`], the record is flushed by the commit of its transaction, if that waits for the disk.
pub(crate) fn write_record(server_version: Option<u32>, in_transaction: bool) -> String {
    let can_flush = server_version.is_some_and(|version| version >= CAN_FLUSH);
    let (wait, record) = match (can_flush, in_transaction) {
        (true, _) => ("", "false,'advisory_core',''::pg_catalog.text,true"),
        (false, true) => ("", "true,'advisory_core',''::pg_catalog.text"),
        (false, false) => (
            "SELECT pg_catalog.set_config('synchronous_commit','on',true) \
             WHERE pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'off';",
            "true,'advisory_core',''::pg_catalog.text",
        ),
    };
    format!(
        "SELECT {REFUSE_STANDBY};{wait}SELECT pg_catalog.pg_walfile_name(p),p::pg_catalog.text \
         FROM pg_catalog.pg_logical_emit_message({record}) AS p"
    )
}

/// Reads the last row of [`write_record`].
pub(crate) fn read_token(row: &PgRow) -> Result<i64, Error> {
    let (file, position): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
    number(file, position).ok_or_else(|| {
        let (file, position) = (file.to_owned(), position.to_owned());
        UnsupportedReason::FencingTokenOverflow { position, file }.into()
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
