//! Seconds on the command line, fractions allowed.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How long to wait for a lock: at most what the server's `lock_timeout` can say, beyond which the wait would have no end.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    within(text, 0.0..=2_147_483.0)
}

/// How often to ask whether somebody is there.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    within(text, 0.1..=86_400.0)
}

/// No comparison with NaN holds, so it is in no range.
fn within(text: &str, range: RangeInclusive<f64>) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|number| range.contains(number));
    let expected = || {
        let (least, most) = (range.start(), range.end());
        format!("expected seconds from {least} to {most}, such as `2` or `0.5`")
    };
    seconds.map(Duration::from_secs_f64).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seconds_may_have_a_fraction() {
        assert_eq!(timeout("2"), Ok(Duration::from_secs(2)));
        assert_eq!(timeout("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(timeout("0"), Ok(Duration::ZERO));
        assert_eq!(timeout("-0"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_no_wait_says_what_would_be_one() {
        for text in [
            "", "soon", "-1", "nan", "-nan", "inf", "-inf", "1e30", "2147484", "2s",
        ] {
            let error = timeout(text).unwrap_err();
            let expected = "expected seconds from 0 to 2147483, such as `2` or `0.5`";
            assert_eq!(error, expected, "{text}");
        }
        assert!(interval("0").unwrap_err().contains("from 0.1 to 86400"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_wait_in_its_range_or_is_told_the_range(
            text in prop_oneof![any::<String>(), "[-+]?[0-9]{0,20}[.]?[0-9]{0,20}(e[-+]?[0-9]{1,3})?"],
        ) {
            for (read, range) in [(timeout(&text), 0.0..=2_147_483.0), (interval(&text), 0.1..=86_400.0)] {
                match read {
                    Ok(wait) => prop_assert!(range.contains(&wait.as_secs_f64()), "{:?}", wait),
                    Err(message) => prop_assert!(message.starts_with("expected seconds from "), "{}", message),
                }
            }
        }
    }
}
