//! What is reported: spans and warnings, metrics, and no wait as a slow statement.

mod metric;
mod slow_statement;
mod span;
