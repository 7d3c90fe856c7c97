//! Writes the Rust code of docs/RECIPES.md into files, from which tests include it: `cron-2.rs` is
//! the second block below the heading "Cron".
//!
//! Lines that rustdoc hides are left out: they replace what a reader has, and so do the tests. An
//! `example` around statements stays.

use std::path::Path;
use std::{env, fs};

const PAGE: &str = "../../docs/RECIPES.md";

fn main() {
    println!("cargo::rerun-if-changed={PAGE}");
    let folder = env::var_os("OUT_DIR").expect("cargo sets it");
    let page = fs::read_to_string(PAGE).expect("the page of recipes");
    for section in page.split("\n## ").skip(1) {
        let (heading, text) = section.split_once('\n').expect("text below a heading");
        let name = heading.to_lowercase().replace(' ', "-");
        for (index, block) in text.split("```rust\n").skip(1).enumerate() {
            let (block, _) = block.split_once("```").expect("the end of a block");
            let file = Path::new(&folder).join(format!("{name}-{}.rs", index + 1));
            fs::write(file, code(block)).expect("a folder for the code");
        }
    }
}

fn code(block: &str) -> String {
    let mut is_example = false;
    let shown = |line| match str::strip_prefix(line, "#") {
        Some(hidden) if hidden.is_empty() || hidden.starts_with(' ') => {
            is_example |= hidden.contains("fn example(");
            is_example.then_some(hidden)
        }
        _ => Some(line),
    };
    let lines: Vec<_> = block.lines().filter_map(shown).collect();
    lines.join("\n")
}
