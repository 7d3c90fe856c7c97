//! The message behind a fencing token.

use super::REFUSE_STANDBY;

/// From this version on, a record can be flushed at once.
const CAN_FLUSH: u32 = 17_00_00;

/// The size of a page of the log, if the server was not built with another one.
const PAGE: u32 = 8192;

/// Where a record is written.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// In a session, where every message is a transaction of its own.
    Session,
    Transaction,
    /// In a transaction that lasts as long as its lock. It must have no transaction id, for which
    /// `VACUUM` would wait.
    LastingTransaction,
}

/// Writes a record into the write-ahead log. The last row is its file and its position.
///
/// Before [`CAN_FLUSH`], the record is flushed by the commit of its transaction, if that waits for
/// the disk. One that is not part of its transaction is flushed by the WAL writer, once its page is
/// full: a second record fills that page.
pub(crate) fn write_record(server_version: Option<u32>, place: Place) -> String {
    let can_flush = server_version.is_some_and(|version| version >= CAN_FLUSH);
    let (wait, record, columns) = match place {
        _ if can_flush => (
            "",
            "false,'advisory_core',''::pg_catalog.text,true",
            String::new(),
        ),
        Place::Transaction => (
            "",
            "true,'advisory_core',''::pg_catalog.text",
            String::new(),
        ),
        Place::Session => (
            "SELECT pg_catalog.set_config('synchronous_commit','on',true) \
             WHERE pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'off';",
            "true,'advisory_core',''::pg_catalog.text",
            String::new(),
        ),
        Place::LastingTransaction => (
            "",
            "false,'advisory_core',''::pg_catalog.text",
            format!(
                ",pg_catalog.pg_logical_emit_message(false,'advisory_core',\
                 pg_catalog.repeat(' ',{PAGE}))::pg_catalog.text"
            ),
        ),
    };
    format!(
        "SELECT {REFUSE_STANDBY};{wait}SELECT pg_catalog.pg_walfile_name(p),p::pg_catalog.text{columns} \
         FROM pg_catalog.pg_logical_emit_message({record}) AS p"
    )
}
