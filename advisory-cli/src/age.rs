//! How long ago something was, as one says it.

use std::time::Duration;

/// The two largest units of a time: `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn age(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = time.as_secs();
    if seconds == 0 {
        return format!("{} ms", time.subsec_millis());
    }
    let mut left = seconds;
    let mut parts = UNITS.iter().filter_map(|(size, unit)| {
        let count = left / size;
        left %= size;
        Some((count, unit)).filter(|(count, _)| *count > 0)
    });
    let first = parts.next().map(|(count, unit)| format!("{count} {unit}"));
    let second = parts.next().map(|(count, unit)| format!(" {count} {unit}"));
    [first, second].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_units_are_enough() {
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
}
