//! How much the long families of tests run.

use crate::environment::setting;

/// How much the long families run: `ADVISORY_TEST_DEPTH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every verb and every kind of case at least once; of each kind, a sample.
    Short,
    /// Everything.
    Full,
}

impl Depth {
    /// The depth of this run: short, unless `ADVISORY_TEST_DEPTH` is `full`.
    ///
    /// # Panics
    ///
    /// If the variable has another value.
    #[track_caller]
    pub fn of_run() -> Self {
        let parse = |value: &str| match value {
            "short" => Some(Self::Short),
            "full" => Some(Self::Full),
            _ => None,
        };
        match setting("ADVISORY_TEST_DEPTH", "`short` or `full`", parse) {
            Ok(depth) => depth.unwrap_or(Self::Short),
            Err(error) => panic!("{error}"),
        }
    }
}

/// All cases; in short depth every second one, from the first or the second on. `n` is the number
/// of the caller, so that two callers in turn have all cases.
#[track_caller]
pub fn sample<T>(n: usize, cases: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    let (skipped, step) = by_depth((n % 2, 2), (0, 1));
    cases.into_iter().skip(skipped).step_by(step)
}

/// One value or the other, by the [`Depth`] of this run.
#[track_caller]
pub fn by_depth<T>(short: T, full: T) -> T {
    match Depth::of_run() {
        Depth::Short => short,
        Depth::Full => full,
    }
}
