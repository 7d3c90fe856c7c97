//! The code of docs/RECIPES.md that needs other libraries: one module for each recipe, which shows
//! the module's file from its first `use` on. `tests/document.rs` compares both.
#![expect(missing_docs, reason = "the recipes explain them")]

pub mod cron;
pub mod idempotency;
