//! The recipes of docs/RECIPES.md.

mod cron;
mod document;
mod idempotency;
mod outage;
