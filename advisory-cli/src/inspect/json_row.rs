//! A lock as a row of `ls --json`.

use std::time::Duration;

use serde::Serialize;

use super::snapshot::NamedLock;

/// The fields of a row. Fields are added, and never renamed or removed.
#[derive(Serialize)]
pub(super) struct JsonRow<'a> {
    /// The key as text, because a number of JSON has 53 bits: `-42`, `(1, 7)`.
    key: String,
    classid: u32,
    objid: u32,
    objsubid: i16,
    name: Option<&'a str>,
    /// `file`, `session` or `tool`.
    name_source: Option<&'static str>,
    /// The scheme that makes this key from a name of the names file.
    scheme: Option<&'static str>,
    mode: String,
    granted: bool,
    pid: i32,
    blocked_by: &'a [i32],
    waiting_seconds: Option<f64>,
    transaction_age_seconds: Option<f64>,
    state_age_seconds: Option<f64>,
    session_age_seconds: Option<f64>,
    database: &'a str,
    application_name: Option<&'a str>,
    user: Option<&'a str>,
    client_addr: Option<&'a str>,
    state: Option<&'a str>,
    wait_event: Option<&'a str>,
    query: Option<&'a str>,
    gid: Option<&'a str>,
}

impl<'a> From<&'a NamedLock> for JsonRow<'a> {
    fn from(NamedLock { lock, name }: &'a NamedLock) -> Self {
        let name = name.as_ref();
        let (classid, objid, objsubid) = lock.key.to_pg_locks();
        let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
        Self {
            key: lock.key.to_string(),
            classid,
            objid,
            objsubid,
            name: name.map(|name| &*name.text),
            name_source: name.map(|name| name.source),
            scheme: name.and_then(|name| name.scheme),
            mode: lock.mode.to_string(),
            granted: lock.granted,
            pid: lock.pid,
            blocked_by: &lock.blocked_by,
            waiting_seconds: seconds(lock.waiting_for),
            transaction_age_seconds: seconds(lock.transaction_age),
            state_age_seconds: seconds(lock.state_age),
            session_age_seconds: seconds(lock.session_age),
            database: &lock.database,
            application_name: lock.application_name.as_deref(),
            user: lock.user.as_deref(),
            client_addr: lock.client_addr.as_deref(),
            state: lock.state.as_deref(),
            wait_event: lock.wait_event.as_deref(),
            query: lock.query.as_deref(),
            gid: lock.gid.as_deref(),
        }
    }
}
