//! The message behind a fencing token.

use super::REFUSE_STANDBY;

/// From this version on, a record can be flushed at once.
const CAN_FLUSH: u32 = 17_00_00;

/// Writes a record into the write-ahead log. The last row is its file and its position.
///
/// Before [`CAN_FLUSH`], the record is flushed by the commit of its transaction, if that waits for
/// the disk.
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
