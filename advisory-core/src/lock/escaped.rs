//! Text of others in one line of ours.

use std::fmt::{self, Write as _};

/// Writes text with its control characters, invisible characters and changes of direction as Rust
/// escapes them, so that it stays where it is written.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '\'' | '"' => f.write_char(char)?,
                _ => write!(f, "{}", char.escape_debug())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_leave_its_line_is_escaped() {
        let escaped = |text| Escaped(text).to_string();
        assert_eq!(
            escaped("it's \"sync(4)\" für 東京"),
            "it's \"sync(4)\" für 東京"
        );
        assert_eq!(escaped("a\nb\r\t\0"), "a\\nb\\r\\t\\0");
        assert_eq!(escaped("\u{1b}[31m"), "\\u{1b}[31m");
        assert_eq!(
            escaped("\u{202e}\u{200b}\u{feff}"),
            "\\u{202e}\\u{200b}\\u{feff}"
        );
        assert_eq!(escaped("a\\nb"), "a\\\\nb");
    }
}
