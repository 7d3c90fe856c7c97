//! A lock as a row of `ls --json`.

use std::time::Duration;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::snapshot::NamedLock;

/// Fields are added, and never renamed or removed.
impl Serialize for NamedLock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            lock, name, slot, ..
        } = self;
        let name = name.as_ref();
        let (classid, objid, objsubid) = lock.key.to_pg_locks();
        let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
        let mut row = serializer.serialize_map(None)?;
        // The key as text, because a number of JSON has 53 bits: `-42`, `(1, 7)`.
        row.serialize_entry("key", &lock.key.to_string())?;
        row.serialize_entry("classid", &classid)?;
        row.serialize_entry("objid", &objid)?;
        row.serialize_entry("objsubid", &objsubid)?;
        row.serialize_entry("name", &name.map(|name| &name.text))?;
        row.serialize_entry("name_source", &name.map(|name| name.source))?;
        row.serialize_entry("scheme", &name.and_then(|name| name.scheme))?;
        row.serialize_entry("mode", &lock.mode.to_string())?;
        row.serialize_entry("granted", &lock.granted)?;
        row.serialize_entry("pid", &lock.pid)?;
        row.serialize_entry("blocked_by", &lock.blocked_by)?;
        row.serialize_entry("waiting_seconds", &seconds(lock.waiting_for))?;
        row.serialize_entry("transaction_age_seconds", &seconds(lock.transaction_age))?;
        row.serialize_entry("state_age_seconds", &seconds(lock.state_age))?;
        row.serialize_entry("session_age_seconds", &seconds(lock.session_age))?;
        row.serialize_entry("database", &lock.database)?;
        row.serialize_entry("application_name", &lock.application_name)?;
        row.serialize_entry("user", &lock.user)?;
        row.serialize_entry("client_addr", &lock.client_addr)?;
        row.serialize_entry("state", &lock.state)?;
        row.serialize_entry("wait_event", &lock.wait_event)?;
        row.serialize_entry("query", &lock.query)?;
        row.serialize_entry("gid", &lock.gid)?;
        row.serialize_entry("slot", slot)?;
        row.end()
    }
}
