//! Ruby's `String#to_i`.

/// The low 31 bits of the number that the text begins with; 0 if it begins with none.
///
/// Ruby skips spaces, and reads a sign, `0d`, and digits between which single underscores may
/// stand. The number may be of any size.
pub(super) fn to_i(text: &str) -> i32 {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let (is_negative, text) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let text = text
        .strip_prefix("0d")
        .or(text.strip_prefix("0D"))
        .unwrap_or(text);
    let number = low_bits(text);
    let number = if is_negative {
        number.wrapping_neg()
    } else {
        number
    };
    (number & 0x7fff_ffff).cast_signed()
}

fn low_bits(text: &str) -> u32 {
    let mut number = 0_u32;
    let mut after_digit = false;
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => {
                number = number.wrapping_mul(10).wrapping_add(u32::from(byte - b'0'));
                after_digit = true;
            }
            b'_' if after_digit => after_digit = false,
            _ => break,
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by Ruby 3.1: `text.to_i & 0x7fffffff`.
    #[test]
    fn ruby_reads_the_same() {
        for (text, number) in [
            ("", 0),
            ("staging", 0),
            ("7abc", 7),
            ("+7", 7),
            ("-7", 2_147_483_641),
            ("- 7", 0),
            ("--5", 0),
            (" \n\x0b7", 7),
            ("\u{a0}5", 0),
            ("0x1f", 0),
            ("0d12", 12),
            ("-0d5", 2_147_483_643),
            ("0d_1", 0),
            ("_7", 0),
            ("1_000_", 1000),
            ("1__0", 1),
            ("٣", 0),
            ("99999999999999999999", 1_661_992_959),
            ("-99999999999999999999", 485_490_689),
        ] {
            assert_eq!(to_i(text), number, "{text:?}");
        }
    }
}
