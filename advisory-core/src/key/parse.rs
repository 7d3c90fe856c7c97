//! A key as text, as a user types it or copies it from a log.

use std::fmt;

use super::Key;

impl Key {
    /// Reads a key as [`Display`](fmt::Display) writes it, `-42` or `(1, 7)`, or in a shorter form:
    /// `1,7`.
    ///
    /// A number may be hexadecimal; its digits are then the bits of the key: `0xffffffffffffffff`
    /// is -1. Spaces around numbers are ignored. No text is hashed here: `Key::from` does that, and
    /// takes even `"42"` for a name.
    ///
    /// ```
    /// use advisory_core::Key;
    ///
    /// assert_eq!(Key::parse("-42"), Ok(Key::BigInt(-42)));
    /// assert_eq!(Key::parse("0x1f"), Ok(Key::BigInt(31)));
    /// assert_eq!(Key::parse("(1, -7)"), Ok(Key::IntPair(1, -7)));
    /// assert_eq!(Key::parse("1,0xfffffff9"), Ok(Key::IntPair(1, -7)));
    ///
    /// let error = Key::parse("sync(4)").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "expected a key, such as `-42`, `0x1f` or `(1, 7)`, found `sync(4)`"
    /// );
    /// ```
    ///
    /// # Errors
    ///
    /// [`ParseKeyError`] shows the text, and tells a number that is too large from text that is no
    /// number.
    pub fn parse(text: &str) -> Result<Self, ParseKeyError> {
        let inner = text.trim();
        let inner = match inner.strip_prefix('(') {
            Some(rest) => rest.strip_suffix(')').filter(|pair| pair.contains(',')),
            None => Some(inner),
        };
        let key = inner
            .ok_or(Expected::Key)
            .and_then(|inner| match inner.split_once(',') {
                None => Ok(Self::BigInt(bigint(inner.trim())?)),
                Some((first, second)) => Ok(Self::IntPair(
                    integer(first.trim())?,
                    integer(second.trim())?,
                )),
            });
        key.map_err(|expected| ParseKeyError {
            text: text.into(),
            expected,
        })
    }
}

fn bigint(text: &str) -> Result<i64, Expected> {
    match hexadecimal(text) {
        Some(digits) => in_range(digits, u64::from_str_radix(digits, 16), Expected::BigInt)
            .map(u64::cast_signed),
        None => in_range(unsigned(text), text.parse(), Expected::BigInt),
    }
}

fn integer(text: &str) -> Result<i32, Expected> {
    match hexadecimal(text) {
        Some(digits) => in_range(digits, u32::from_str_radix(digits, 16), Expected::IntPair)
            .map(u32::cast_signed),
        None => in_range(unsigned(text), text.parse(), Expected::IntPair),
    }
}

fn hexadecimal(text: &str) -> Option<&str> {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

/// Tells a number that is too large from text that is no number. `digits` come without a sign.
fn in_range<T>(
    digits: &str,
    parsed: Result<T, std::num::ParseIntError>,
    too_large: Expected,
) -> Result<T, Expected> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Expected::Key);
    }
    parsed.map_err(|error| match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => too_large,
        _ => Expected::Key,
    })
}

/// The error of [`Key::parse`]: the text is not a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseKeyError {
    text: Box<str>,
    expected: Expected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Key,
    BigInt,
    IntPair,
}

impl fmt::Display for ParseKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected = match self.expected {
            Expected::Key => "a key, such as `-42`, `0x1f` or `(1, 7)`",
            Expected::BigInt => "a number of 64 bits, as PostgreSQL's `bigint` is",
            Expected::IntPair => "two numbers of 32 bits, as PostgreSQL's `integer` is",
        };
        write!(f, "expected {expected}, found `{}`", self.text)
    }
}

impl std::error::Error for ParseKeyError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expected(text: &str) -> Expected {
        Key::parse(text).unwrap_err().expected
    }

    #[test]
    fn a_written_key_is_read_back() {
        let bigints = [i64::MIN, -1, 0, 1, i64::MAX].map(Key::BigInt);
        let halves = [i32::MIN, -1, 0, i32::MAX];
        let pairs = halves.map(|first| halves.map(|second| Key::IntPair(first, second)));
        for key in bigints.into_iter().chain(pairs.into_iter().flatten()) {
            assert_eq!(Key::parse(&key.to_string()), Ok(key));
        }
    }

    #[test]
    fn hexadecimal_digits_are_bits() {
        assert_eq!(Key::parse("0xffffffffffffffff"), Ok(Key::BigInt(-1)));
        assert_eq!(Key::parse("0X8000000000000000"), Ok(Key::BigInt(i64::MIN)));
        assert_eq!(Key::parse("0xffffffff"), Ok(Key::BigInt(0xffff_ffff)));
        assert_eq!(Key::parse("(0xffffffff,0x0)"), Ok(Key::IntPair(-1, 0)));
    }

    #[test]
    fn spaces_and_signs_are_accepted() {
        assert_eq!(Key::parse(" +7 "), Ok(Key::BigInt(7)));
        assert_eq!(Key::parse(" ( 1 ,-7 ) "), Ok(Key::IntPair(1, -7)));
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "", " ", "-", "foo", "0x", "-0x1", "0x-1", "0x+1", "1 2", "(1)", "(1, 2", "1, 2)",
            "1,", ",", "1,2,3", "1.0", "1e3", "dead", "١",
        ] {
            assert_eq!(expected(text), Expected::Key, "{text:?}");
        }
    }

    #[test]
    fn a_number_out_of_range_is_named_as_such() {
        for text in [
            "9223372036854775808",
            "-9223372036854775809",
            "0x10000000000000000",
        ] {
            assert_eq!(expected(text), Expected::BigInt, "{text:?}");
        }
        for text in ["2147483648, 0", "0,-2147483649", "(1, 0x100000000)"] {
            assert_eq!(expected(text), Expected::IntPair, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_written_key_is_read_back(big in any::<i64>(), pair in any::<(i32, i32)>()) {
            for key in [Key::from(big), Key::from(pair)] {
                prop_assert_eq!(Key::parse(&key.to_string()), Ok(key));
            }
            let (high, low) = pair;
            prop_assert_eq!(Key::parse(&format!("{big:#x}")), Ok(Key::BigInt(big)));
            prop_assert_eq!(Key::parse(&format!("({high:#X}, {low:#x})").to_lowercase()), Ok(Key::from(pair)));
        }

        #[test]
        fn any_text_is_a_key_or_an_error_that_shows_it(text in any::<String>(), like in "[ (]{0,3}[-+0-9a-fxX,() \t]{0,24}") {
            for text in [text, like] {
                match Key::parse(&text) {
                    Ok(key) => prop_assert_eq!(Key::parse(&key.to_string()), Ok(key)),
                    Err(error) => {
                        let shown = error.to_string().ends_with(&format!("found `{text}`"));
                        prop_assert!(shown, "{}", error);
                    }
                }
            }
        }
    }
}
