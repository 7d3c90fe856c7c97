//! The length of a period, as text.

use std::time::Duration;

const EXPECTED: &str = "expected a period such as `1d`, `1h30m` or `15s` (`w`, `d`, `h`, `m`, `s`)";
const NO_MONTHS: &str = "a month and a year have no fixed length; give weeks or days, such as `30d`, and let the command look at the date";

/// Parses a period: numbers with units.
pub(crate) fn parse_period(text: &str) -> Result<Duration, &'static str> {
    match parse_offset(text)? {
        Duration::ZERO => Err(EXPECTED),
        period => Ok(period),
    }
}

/// Parses what periods are moved by, which may be nothing.
pub(crate) fn parse_offset(text: &str) -> Result<Duration, &'static str> {
    let mut rest = text.trim();
    let mut seconds: u64 = 0;
    if rest.is_empty() {
        return Err(EXPECTED);
    }
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit());
        let (number, tail) = rest.split_at(digits.ok_or(EXPECTED)?);
        let unit_end = tail.find(|char: char| !char.is_alphabetic());
        let (unit, tail) = tail.split_at(unit_end.unwrap_or(tail.len()));
        let unit: u64 = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            "w" => 7 * 24 * 60 * 60,
            unit if unit.starts_with("mo") || unit.starts_with(['y', 'M']) => {
                return Err(NO_MONTHS);
            }
            _ => return Err(EXPECTED),
        };
        let number: u64 = number.parse().map_err(|_| EXPECTED)?;
        let more = number.checked_mul(unit).ok_or(EXPECTED)?;
        seconds = seconds.checked_add(more).ok_or(EXPECTED)?;
        rest = tail.trim_start();
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_numbers_with_units() {
        for (text, seconds) in [("15s", 15), ("1m", 60), ("1h30m", 5400), ("1d", 86400)] {
            assert_eq!(
                parse_period(text),
                Ok(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "0s",
            "1",
            "d",
            "1x",
            "-1d",
            "1.5h",
            "99999999999999999999d",
        ] {
            assert_eq!(parse_period(text), Err(EXPECTED), "{text}");
        }
        for text in ["1mo", "1month", "1y", "1year", "1M"] {
            assert_eq!(parse_period(text), Err(NO_MONTHS), "{text}");
        }
        assert_eq!(parse_offset("0s"), Ok(Duration::ZERO));
    }
}
