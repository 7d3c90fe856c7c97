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
    since_seconds: Option<f64>,
    state_since_seconds: Option<f64>,
    connected_since_seconds: Option<f64>,
    database: &'a str,
    application: Option<&'a str>,
    user: Option<&'a str>,
    client: Option<&'a str>,
    state: Option<&'a str>,
    wait_event: Option<&'a str>,
    query: Option<&'a str>,
    prepared: Option<&'a str>,
}

impl<'a> From<&'a NamedLock> for JsonRow<'a> {
    fn from(NamedLock { lock, name }: &'a NamedLock) -> Self {
        let name = name.as_ref();
        let (classid, objid, objsubid) = lock.key.to_pg_locks();
        Self {
            key: lock.key.to_string(),
            classid,
            objid,
            objsubid,
            name: name.map(|name| &*name.text),
            name_source: name.map(|name| name.origin.source()),
            scheme: name.and_then(|name| name.origin.scheme()),
            mode: lock.mode.to_string(),
            granted: lock.granted,
            pid: lock.pid,
            blocked_by: &lock.blocked_by,
            since_seconds: lock.since.as_ref().map(Duration::as_secs_f64),
            state_since_seconds: lock.state_since.as_ref().map(Duration::as_secs_f64),
            connected_since_seconds: lock.connected_since.as_ref().map(Duration::as_secs_f64),
            database: &lock.database,
            application: lock.application.as_deref(),
            user: lock.user.as_deref(),
            client: lock.client.as_deref(),
            state: lock.state.as_deref(),
            wait_event: lock.wait_event.as_deref(),
            query: lock.query.as_deref(),
            prepared: lock.prepared.as_deref(),
        }
    }
}
