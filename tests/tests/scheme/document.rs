//! The tables in `docs/INTEROP.md` are those of the crate.

use std::fmt::Write as _;
use std::path::PathBuf;

use advisory_core::scheme::Space;
use advisory_core::{known, scheme};
use advisory_tests::project::workspace;

/// The document with the expected tables.
fn rewritten(document: &str) -> String {
    let document = with_table(document, "schemes", &schemes());
    with_table(&document, "known", &known_locks())
}

fn with_table(document: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = document.split_once(&begin).expect("the table begins");
    let (_, after) = rest.split_once(&end).expect("the table ends");
    format!("{before}{begin}{table}{end}{after}")
}

fn document() -> PathBuf {
    workspace().join("docs/INTEROP.md")
}

fn schemes() -> String {
    let mut table = String::from(
        "| | system | scheme | key space | bits | key | odd |\n|---|---|---|---|--:|---|---|\n",
    );
    for system in scheme::systems() {
        let space = match system.space {
            Space::BigInt => "`bigint`",
            Space::IntPair => "2 × `integer`",
            _ => "either",
        };
        row(
            &mut table,
            [
                system.ecosystem,
                system.label,
                &format!("`{}`", system.scheme),
                space,
                &system.bits.to_string(),
                system.algorithm,
                system.caveat,
            ],
        );
    }
    table
}

fn known_locks() -> String {
    let mut table = String::from("| tool | key | source |\n|---|---|---|\n");
    for known in known::all() {
        row(&mut table, [known.label, known.algorithm, known.source]);
    }
    table
}

fn row<const N: usize>(table: &mut String, cells: [&str; N]) {
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    writeln!(table, "| {} |", cells.join(" | ")).expect("BUG: text can be written");
}

#[test]
fn tables_are_those_of_the_crate() {
    let old = std::fs::read_to_string(document()).unwrap();
    let new = rewritten(&old);
    if std::env::var_os("ADVISORY_WRITE_DOCS").is_some() {
        std::fs::write(document(), new).unwrap();
        return;
    }
    assert!(
        old == new,
        "docs/INTEROP.md is out of date; `ADVISORY_WRITE_DOCS=1 cargo test -p advisory-tests --test scheme` writes it"
    );
}

#[test]
fn every_scheme_has_a_recipe() {
    let document = std::fs::read_to_string(document()).unwrap();
    let (recipes, _) = document.split_once("<!-- schemes -->").unwrap();
    for system in scheme::systems().filter(|system| system.ecosystem != "–") {
        let named = [system.scheme, system.label];
        assert!(
            named.iter().any(|name| recipes.contains(name)),
            "{} is in no recipe",
            system.scheme
        );
    }
}
