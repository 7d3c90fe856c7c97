//! How `DistributedLock` for .NET reads a name: as text that fits, as hexadecimal digits, or as
//! neither.

use crate::key::Key;
use crate::scheme::digest::halves;

/// How many characters of 7 bits a `bigint` holds beside the mark where they end.
const MOST: usize = 9;

/// ASCII of up to 9 characters: 7 bits each, then a 0, then ones.
pub(super) fn packed(name: &str) -> Option<u64> {
    if !name.is_ascii() || name.len() > MOST {
        return None;
    }
    let text = name
        .bytes()
        .fold(0, |text, byte| text << 7 | u64::from(byte));
    let free = 7 * (MOST - name.len());
    let ones = (1 << free) - 1;
    Some((text << 1) << free | ones)
}

/// 16 hexadecimal digits, or twice 8 with a comma between.
pub(super) fn hexadecimal(name: &str) -> Option<Key> {
    let (upper, lower, is_pair) = match name.len() {
        16 => (name.get(..8)?, name.get(8..)?, false),
        17 => {
            let (upper, lower) = name.split_at_checked(8)?;
            (upper, lower.strip_prefix(',')?, true)
        }
        _ => return None,
    };
    let bits = u64::from(part(upper)?) << 32 | u64::from(part(lower)?);
    Some(if is_pair {
        halves(bits)
    } else {
        Key::BigInt(bits.cast_signed())
    })
}

/// What .NET's `int.TryParse` takes for hexadecimal: no sign, no space, but zero characters at the
/// end.
fn part(text: &str) -> Option<u32> {
    let digits = text.trim_end_matches('\0');
    let is_hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u32::from_str_radix(digits, 16).ok();
    number.filter(|_| is_hexadecimal)
}

/// How the port to Rust reads them: signed, so the upper half of the numbers is none, and a sign is
/// one.
pub(super) fn port_hexadecimal(name: &str) -> Option<Key> {
    if name.len() == 16
        && let Ok(key) = i64::from_str_radix(name, 16)
    {
        return Some(Key::BigInt(key));
    }
    // Of whatever length: it looks for one comma.
    let (first, second) = name.split_once(',')?;
    let [first, second] = [first, second].map(|part| i32::from_str_radix(part, 16).ok());
    Some(Key::IntPair(first?, second?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_packed() {
        assert_eq!(packed(""), Some(0x7fff_ffff_ffff_ffff));
        assert_eq!(packed("\0"), Some(0x00ff_ffff_ffff_ffff));
        assert_eq!(packed(&"\0".repeat(9)), Some(0));
        assert_eq!(packed(&"\x7f".repeat(9)), Some(u64::MAX - 1));
        assert_eq!(packed("ten chars."), None);
        assert_eq!(packed("ключ"), None);
    }

    #[test]
    fn digits_are_a_number() {
        assert_eq!(hexadecimal("0000000000000001"), Some(Key::BigInt(1)));
        assert_eq!(hexadecimal("FFFFffffFFFFffff"), Some(Key::BigInt(-1)));
        assert_eq!(hexadecimal("00000003,ffffffff"), Some(Key::IntPair(3, -1)));
        assert_eq!(hexadecimal("00000000000000\0\0"), Some(Key::BigInt(0)));
        for not in [
            "+000000000000001",
            " 000000000000001",
            "00000000\0\0\0\0\0\0\0\0",
            "0000000g00000000",
            "00000003;ffffffff",
            "000000031ffffffff",
            "ключ-ключ-",
        ] {
            assert_eq!(hexadecimal(not), None, "{not:?}");
        }
    }

    #[test]
    fn the_port_reads_signs() {
        assert_eq!(port_hexadecimal("-000000000000001"), Some(Key::BigInt(-1)));
        assert_eq!(port_hexadecimal("ffffffffffffffff"), None);
        assert_eq!(
            port_hexadecimal("+123456,+7"),
            Some(Key::IntPair(0x12_3456, 7))
        );
        assert_eq!(port_hexadecimal("00000003,ffffffff"), None);
        assert_eq!(port_hexadecimal("1,2,3"), None);
    }
}
