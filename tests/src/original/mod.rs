//! The packages of others, in processes of their own: from the cache or fetched into it, in pinned versions; or those of the
//! distribution.

mod install;
mod process;

use std::io::Write as _;

pub use install::{Runtime, node, php, python, ruby, rust};
pub use process::Original;

/// Says something past libtest, which would show `eprintln!` only where a test fails.
pub fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "advisory-tests: {what}");
}
