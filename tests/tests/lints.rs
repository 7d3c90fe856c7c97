//! The expansion of the attribute causes no warning, in every supported shape and with all lints.
#![deny(warnings, clippy::all, clippy::pedantic)]
#![allow(dead_code, reason = "they are compiled, not called")]

#[path = "ui/pass/attribute.rs"]
mod attribute;
#[path = "ui/pass/connection.rs"]
mod connection;
#[path = "ui/pass/crate-path.rs"]
mod crate_path;
#[path = "ui/pass/declarative.rs"]
mod declarative;
#[path = "ui/pass/hygiene.rs"]
mod hygiene;
#[path = "ui/pass/key.rs"]
mod key;
#[path = "ui/pass/map-err.rs"]
mod map_err;
#[path = "ui/pass/place.rs"]
mod place;
#[path = "ui/pass/pool.rs"]
mod pool;
#[path = "ui/pass/send.rs"]
mod send;
#[path = "ui/pass/session.rs"]
mod session;
#[path = "ui/pass/signature.rs"]
mod signature;
#[path = "ui/pass/skip.rs"]
mod skip;
#[path = "ui/pass/transaction.rs"]
mod transaction;

#[test]
fn every_passing_case_is_compiled_here() {
    let cases = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ui/pass"));
    for case in cases.expect("the folder is there") {
        let name = case.expect("the folder can be read").file_name();
        let name = name.to_str().expect("the name is plain");
        assert!(
            include_str!("lints.rs").contains(&format!("\"ui/pass/{name}\"")),
            "{name}"
        );
    }
}
