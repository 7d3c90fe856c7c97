//! Durations on the command line, and ages in the output.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The longest wait is the largest `lock_timeout` of PostgreSQL, which counts milliseconds in 32
/// bits.
const TIMEOUT_SECONDS: RangeInclusive<f64> = 0.0..=2_147_483.0;
const INTERVAL_SECONDS: RangeInclusive<f64> = 0.1..=86_400.0;

/// Parses how long to wait.
pub(crate) fn parse_timeout(text: &str) -> Result<Duration, String> {
    parse(text, &TIMEOUT_SECONDS)
}

/// Parses the time between two repetitions.
pub(crate) fn parse_interval(text: &str) -> Result<Duration, String> {
    parse(text, &INTERVAL_SECONDS)
}

const EXPECTED_PERIOD: &str =
    "expected a period such as `1d`, `1h30m` or `15s` (`w`, `d`, `h`, `m`, `s`)";
const NO_MONTHS: &str = "a month and a year have no fixed length; give weeks or days, such as `30d`, and let the command look at the date";

/// Parses the length of a period.
pub(crate) fn parse_period(text: &str) -> Result<Duration, &'static str> {
    match parse_offset(text)? {
        Duration::ZERO => Err(EXPECTED_PERIOD),
        period => Ok(period),
    }
}

/// Parses what periods are moved by, which may be nothing.
pub(crate) fn parse_offset(text: &str) -> Result<Duration, &'static str> {
    let is_long = |unit: &str| unit.starts_with("mo") || unit.starts_with(['M', 'y']);
    if text.split(|char: char| !char.is_alphabetic()).any(is_long) {
        return Err(NO_MONTHS);
    }
    humantime::parse_duration(text).map_err(|_| EXPECTED_PERIOD)
}

/// Parses seconds, or numbers with units: `0.5`, `90s`, `1h 30m`.
fn parse(text: &str, range: &RangeInclusive<f64>) -> Result<Duration, String> {
    let seconds: Option<f64> = match text.parse() {
        Ok(seconds) => Some(seconds),
        Err(_) => humantime::parse_duration(text)
            .ok()
            .map(|time| time.as_secs_f64()),
    };
    // NaN is in no range.
    let seconds = seconds.filter(|seconds| range.contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| {
        let (min, max) = (range.start(), range.end());
        format!(
            "expected seconds from {min} to {max}, such as `2` or `0.5`, or a time such as `5m`"
        )
    })
}

/// The two largest units of a duration: `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn age(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut rest = duration.as_secs();
    if rest == 0 {
        return format!("{} ms", duration.subsec_millis());
    }
    let units = UNITS.iter().filter_map(|(size, unit)| {
        let count = rest / size;
        rest %= size;
        (count > 0).then(|| format!("{count} {unit}"))
    });
    units.take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_age_has_at_most_two_units() {
        for (seconds, text) in [
            (0.0, "0 ms"),
            (0.25, "250 ms"),
            (12.9, "12 s"),
            (60.0, "1 min"),
            (200.0, "3 min 20 s"),
            (7500.0, "2 h 5 min"),
            (3605.0, "1 h 5 s"),
            (273_600.0, "3 d 4 h"),
        ] {
            assert_eq!(age(Duration::from_secs_f64(seconds)), text);
        }
    }

    #[test]
    fn seconds_may_have_a_fraction() {
        for (text, milliseconds) in [("2", 2000), ("0.25", 250), ("-0", 0)] {
            let expected = Ok(Duration::from_millis(milliseconds));
            assert_eq!(parse_timeout(text), expected, "{text}");
        }
    }

    #[test]
    fn a_time_may_have_units() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("90s", 90_000),
            ("5m", 300_000),
            ("3 min 20 s", 200_000),
            ("1h30m", 5_400_000),
            ("2 days", 172_800_000),
        ] {
            let expected = Ok(Duration::from_millis(milliseconds));
            assert_eq!(parse_timeout(text), expected, "{text}");
        }
    }

    #[test]
    fn an_error_states_the_range() {
        for text in "soon -1 nan -inf 1e30 2147484 -2s 5x 600h 5years".split(' ') {
            let expected =
                "expected seconds from 0 to 2147483, such as `2` or `0.5`, or a time such as `5m`";
            assert_eq!(parse_timeout(text).unwrap_err(), expected, "{text}");
        }
        let interval = parse_interval("0").unwrap_err();
        assert!(interval.contains("from 0.1 to 86400"), "{interval}");
    }

    #[test]
    fn a_period_has_units_of_a_fixed_length() {
        for (text, seconds) in [
            ("15s", 15),
            ("1m", 60),
            ("1h30m", 5400),
            ("1d", 86_400),
            ("1w 1d", 691_200),
        ] {
            let expected = Ok(Duration::from_secs(seconds));
            assert_eq!(parse_period(text), expected, "{text}");
        }
        for text in ["", "0s", "1", "d", "1x", "-1d", "99999999999999999999d"] {
            assert_eq!(parse_period(text), Err(EXPECTED_PERIOD), "{text}");
        }
        for text in ["1mo", "2 months", "1h 1y", "1year", "1M"] {
            assert_eq!(parse_period(text), Err(NO_MONTHS), "{text}");
        }
        assert_eq!(parse_offset("0s"), Ok(Duration::ZERO));
    }

    proptest! {
        #[test]
        fn any_text_is_in_the_range_or_an_error_that_states_it(
            text in prop_oneof![
                any::<String>(),
                "[-+]?[0-9]{0,20}[.]?[0-9]{0,20}(e[-+]?[0-9]{1,3})?",
                "([0-9]{0,20} ?(ms|s|m|min|h|d|w|y)? ?){0,3}",
            ],
        ) {
            for (parsed, range) in [
                (parse_timeout(&text), TIMEOUT_SECONDS),
                (parse_interval(&text), INTERVAL_SECONDS),
            ] {
                match parsed {
                    Ok(wait) => prop_assert!(range.contains(&wait.as_secs_f64()), "{wait:?}"),
                    Err(error) => prop_assert!(error.starts_with("expected seconds"), "{error}"),
                }
            }
        }
    }
}
