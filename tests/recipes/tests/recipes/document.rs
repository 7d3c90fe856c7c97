//! The recipes show the code that the tests run.

const RECIPES: &str = include_str!("../../../../docs/RECIPES.md");

#[test]
fn recipe_is_the_tested_code() {
    let sources = [
        include_str!("../../src/cron.rs"),
        include_str!("../../src/idempotency.rs"),
    ];
    for source in sources {
        let (description, code) = source.split_once("\n\n").expect("a description, and code");
        let block = format!("```rust,ignore\n{code}```\n");
        assert!(
            RECIPES.contains(&block),
            "{description}: not in RECIPES.md:\n{block}"
        );
    }
}
