//! The forms in which a key is written.

use advisory_core::Key;
use serde::Serialize;

#[derive(Clone, Serialize)]
pub(super) struct KeyForms {
    /// The key as text, because a number of JSON has 53 bits.
    pub(super) key: String,
    pub(super) hex: String,
    pub(super) classid: u32,
    pub(super) objid: u32,
    pub(super) objsubid: i16,
}

impl From<Key> for KeyForms {
    fn from(key: Key) -> Self {
        let (classid, objid, objsubid) = key.to_pg_locks();
        Self {
            key: key.to_string(),
            hex: format!("{key:x}"),
            classid,
            objid,
            objsubid,
        }
    }
}
