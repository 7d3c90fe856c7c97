//! The `#[advisory]` attribute; use it through `advisory_core::advisory`.
