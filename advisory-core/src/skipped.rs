//! What a skipped function returns.

/// What a function under `#[advisory(side_effect = Skip)]` or `#[advisory(every = …)]` returns when
/// it is skipped.
///
/// `()` is returned as it is, and `Option<T>` as `None`. Implement it for a type of your own that
/// can say more:
///
/// ```
/// use advisory_core::Skipped;
///
/// enum Report {
///     Done { rows: u64 },
///     AlreadyRunning,
/// }
///
/// impl Skipped for Report {
///     fn skipped() -> Self {
///         Self::AlreadyRunning
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot say that the function was skipped",
    label = "expected `Result<(), E>`, `Result<Option<T>, E>`, or a type that implements `Skipped`",
    note = "with `side_effect = Skip` the function returns without running when the lock is not granted, with `every` when its period is done"
)]
pub trait Skipped {
    /// The value of a skipped function.
    fn skipped() -> Self;
}

impl Skipped for () {
    fn skipped() -> Self {}
}

impl<T> Skipped for Option<T> {
    fn skipped() -> Self {
        None
    }
}
