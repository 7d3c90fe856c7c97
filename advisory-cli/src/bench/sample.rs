//! Times, and what they come to.

use std::time::Duration;

use serde::Serialize;

/// How long one thing has taken, each time.
#[derive(Default)]
pub(super) struct Samples(Vec<Duration>);

/// How long it takes.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    pub(super) work: &'static str,
    /// How often it was measured.
    pub(super) count: usize,
    /// `None` if it was not: see `refused`.
    pub(super) median_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    /// Why it cannot be had here.
    pub(super) refused: Option<String>,
}

impl Samples {
    pub(super) fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(super) fn latency(mut self, work: &'static str) -> Latency {
        self.0.sort_unstable();
        Latency {
            work,
            count: self.0.len(),
            median_us: self.at(50),
            p99_us: self.at(99),
            refused: None,
        }
    }

    /// The least time that so many percent were within, in microseconds.
    fn at(&self, percent: usize) -> Option<f64> {
        let rank = (self.0.len() * percent).div_ceil(100);
        let took = self.0.get(rank.saturating_sub(1))?;
        Some((took.as_secs_f64() * 1e7).round() / 10.0)
    }
}

impl Latency {
    pub(super) fn refused(work: &'static str, why: &str) -> Self {
        Self {
            refused: Some(why.to_owned()),
            ..Samples::default().latency(work)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(microseconds: impl IntoIterator<Item = u64>) -> Latency {
        let mut samples = Samples::default();
        for microseconds in microseconds {
            samples.add(Duration::from_micros(microseconds));
        }
        samples.latency("work")
    }

    #[test]
    fn the_median_is_in_the_middle_and_one_in_a_hundred_is_past_p99() {
        let latency = of((1..=100).rev());
        assert_eq!(
            (latency.median_us, latency.p99_us),
            (Some(50.0), Some(99.0))
        );
        assert_eq!(latency.count, 100);
    }

    #[test]
    fn one_sample_is_both_and_none_is_neither() {
        let latency = of([7]);
        assert_eq!((latency.median_us, latency.p99_us), (Some(7.0), Some(7.0)));
        let latency = of([]);
        assert_eq!((latency.median_us, latency.p99_us), (None, None));
    }
}
