//! What the error of a refused call says.

use advisory_core::{Error, Holder, UnsupportedReason};

/// The holders that the error names.
///
/// # Panics
///
/// If the lock is not held by others, but something else has failed.
#[track_caller]
pub fn holders(error: &Error) -> &[Holder] {
    match error {
        Error::NotAcquired { holders, .. } => holders,
        other => panic!("{other:?}"),
    }
}

/// Why the lock is not supported.
///
/// # Panics
///
/// If something else has failed.
#[track_caller]
pub fn unsupported(error: &Error) -> &UnsupportedReason {
    match error {
        Error::Unsupported { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}
