//! Lock packages of other languages, each in a process of its own.
//!
//! A [`Runtime`] is a language with its packages: pinned versions that are installed into the
//! cache, or the packages of the distribution. A [`ForeignClient`] is a process that takes locks
//! with one of these packages. The programs are in `tests/originals`.

mod process;
mod runtime;

pub use process::ForeignClient;
pub use runtime::{Runtime, node, php, python, ruby, rust};
