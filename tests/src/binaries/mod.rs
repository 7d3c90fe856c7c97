//! The binaries of a PostgreSQL server: those installed on the machine, or a prebuilt release.
//!
//! [`find`] tries both sources in the order that the environment variables allow.

mod binary_source;
mod folder;
mod installed;
mod prebuilt;
mod release_pin;
mod version;

pub(crate) use binary_source::find;
pub(crate) use version::OLDEST_MAJOR;
pub use version::Version;
