//! Measured durations, their statistics, and how figures are printed.

use std::fmt;

/// Durations in nanoseconds, grouped by block. Blocks with the same index in two samples were
/// measured in the same round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<Vec<f64>>);

impl Sample {
    pub(crate) fn push(&mut self, block: Vec<f64>) {
        assert!(!block.is_empty(), "BUG: a block without a measurement");
        self.0.push(block);
    }

    pub(crate) fn median(&self) -> f64 {
        quantile(&self.all(), 0.5)
    }

    pub(crate) fn p99(&self) -> f64 {
        quantile(&self.all(), 0.99)
    }

    /// The ratio of this sample to `other`: the median of the ratios of blocks of the same round.
    pub(crate) fn ratio_to(&self, other: &Self) -> f64 {
        let pairs = self.block_medians().into_iter().zip(other.block_medians());
        let ratios: Vec<_> = pairs.map(|(ours, theirs)| ours / theirs).collect();
        quantile(&ratios, 0.5)
    }

    /// The difference between this sample and `other`: the median of the differences of blocks of
    /// the same round.
    pub(crate) fn excess_over(&self, other: &Self) -> f64 {
        let pairs = self.block_medians().into_iter().zip(other.block_medians());
        let excesses: Vec<_> = pairs.map(|(ours, theirs)| ours - theirs).collect();
        quantile(&excesses, 0.5)
    }

    fn all(&self) -> Vec<f64> {
        self.0.concat()
    }

    fn block_medians(&self) -> Vec<f64> {
        self.0.iter().map(|block| quantile(block, 0.5)).collect()
    }
}

/// The quantile of the values, interpolated linearly.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = share * count(sorted.len() - 1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index of the list"
    )]
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * position.fract()
}

/// A count as a floating-point number.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn count(count: usize) -> f64 {
    count as f64
}

/// A duration, printed with three digits and its unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nanoseconds(pub(crate) f64);

impl fmt::Display for Nanoseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0.abs() {
            small if small < 1e3 => (1.0, "ns"),
            middle if middle < 1e6 => (1e3, "µs"),
            large if large < 1e9 => (1e6, "ms"),
            _ => (1e9, "s"),
        };
        f.pad(&format!("{} {name}", three_digits(self.0 / unit)))
    }
}

/// A number with three significant digits.
pub(crate) fn three_digits(value: f64) -> String {
    match value.abs() {
        small if small < 9.995 => format!("{value:.2}"),
        middle if middle < 99.95 => format!("{value:.1}"),
        _ => thousands(value),
    }
}

/// A number without decimals and with commas between thousands.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(blocks: &[&[f64]]) -> Sample {
        let mut sample = Sample::default();
        for block in blocks {
            sample.push(block.to_vec());
        }
        sample
    }

    fn assert_is(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    #[test]
    fn quantile_is_interpolated() {
        assert_is(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_is(quantile(&[1.0, 2.0], 0.5), 1.5);
        assert_is(quantile(&[7.0], 0.99), 7.0);
        let hundred: Vec<_> = (0..=100).map(f64::from).collect();
        assert_is(quantile(&hundred, 0.99), 99.0);
    }

    #[test]
    fn one_slow_run_changes_the_p99_and_not_the_median() {
        let sample = sample(&[&[1.0, 1.0, 1.0], &[1.0, 1.0, 100.0]]);
        assert_is(sample.median(), 1.0);
        assert!(sample.p99() > 90.0);
    }

    /// The machine is twice as slow during the second block of both samples.
    #[test]
    fn ratio_compares_blocks_of_the_same_round() {
        let ours = sample(&[&[1.0], &[2.0], &[1.0]]);
        let theirs = sample(&[&[3.0], &[6.0], &[3.0]]);
        assert_is(theirs.ratio_to(&ours), 3.0);
        assert_is(theirs.excess_over(&ours), 2.0);
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(Nanoseconds(812.4).to_string(), "812 ns");
        assert_eq!(Nanoseconds(94_060.0).to_string(), "94.1 µs");
        assert_eq!(Nanoseconds(4_208_000.0).to_string(), "4.21 ms");
        assert_eq!(Nanoseconds(-1_500.0).to_string(), "-1.50 µs");
        assert_eq!(thousands(1_234_567.4), "1,234,567");
        assert_eq!(three_digits(999.6), "1,000");
    }
}
