//! Spans and metrics.

pub(crate) mod metric;
mod span;

pub(crate) use self::metric::{Outcome, Scope, Waiting};
pub(crate) use self::span::AcquireSpan;
