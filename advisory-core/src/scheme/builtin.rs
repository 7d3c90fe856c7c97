//! The schemes that need no feature.

use md5::Digest as _;

use super::digest::{big_endian, crc32, little_endian};
use crate::key::Key;
use crate::scheme::KeyScheme;

/// The default: SHA-1, the first 8 bytes, little-endian, signed.
///
/// The same keys as Python's `struct.unpack("<q", hashlib.sha1(name.encode()).digest()[:8])`. SHA-1
/// is used for its spread, not for its secrecy.
///
/// ```
/// use advisory_core::{Key, KeyScheme, scheme::Sha1};
///
/// assert_eq!(Sha1.key("foo"), Key::BigInt(-2661838577447997941));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sha1;

impl KeyScheme for Sha1 {
    fn key(&self, name: &str) -> Key {
        little_endian(&sha1::Sha1::digest(name))
    }
}

/// CRC-32 (ISO-HDLC, as in zlib), unsigned, as a `bigint`.
///
/// The same keys as Python's `zlib.crc32(name.encode())`. Only 32 of the 64 bits are used: prefer
/// [`Sha1`] for new names.
///
/// ```
/// use advisory_core::{Key, KeyScheme, scheme::Crc32};
///
/// assert_eq!(Crc32.key("foo"), Key::BigInt(2356372769));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crc32;

impl KeyScheme for Crc32 {
    fn key(&self, name: &str) -> Key {
        Key::from(crc32(name.as_bytes()))
    }
}

/// MD5, the first 8 bytes, big-endian, signed.
///
/// The same keys as Python's
/// `int.from_bytes(hashlib.md5(name.encode()).digest()[:8], "big", signed=True)`.
///
/// ```
/// use advisory_core::{Key, KeyScheme, scheme::Md5};
///
/// assert_eq!(Md5.key("foo"), Key::BigInt(-5999611798422882212));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Md5;

impl KeyScheme for Md5 {
    fn key(&self, name: &str) -> Key {
        big_endian(&md5::Md5::digest(name))
    }
}

/// SHA-256, the first 8 bytes, little-endian, signed: the keys of django-pglock.
///
/// ```
/// use advisory_core::{Key, KeyScheme, scheme::Sha256};
///
/// assert_eq!(Sha256.key("foo"), Key::BigInt(-8086495256948496852));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sha256;

impl KeyScheme for Sha256 {
    fn key(&self, name: &str) -> Key {
        little_endian(&sha2::Sha256::digest(name))
    }
}

#[cfg(feature = "interop")]
macro_rules! entry {
    ($scheme:ident, $label:literal, $bits:literal, $algorithm:literal, $foo:literal) => {
        super::System {
            scheme: stringify!($scheme),
            label: $label,
            ecosystem: "–",
            space: super::Space::BigInt,
            bits: $bits,
            algorithm: $algorithm,
            source: "advisory-core, `src/scheme/builtin.rs`",
            caveat: "",
            #[cfg(test)]
            foo: Key::BigInt($foo),
            derive: |name| $scheme.key(name),
            accepts: |_| true,
        }
    };
}

#[cfg(feature = "interop")]
#[rustfmt::skip]
pub(super) static SYSTEMS: &[super::System] = &[
    entry!(Sha1, "the default here", 64, "SHA-1, the first 8 bytes, little-endian", -2_661_838_577_447_997_941),
    entry!(Crc32, "CRC-32", 32, "CRC-32, unsigned", 2_356_372_769),
    entry!(Md5, "MD5", 64, "MD5, the first 8 bytes, big-endian", -5_999_611_798_422_882_212),
    entry!(Sha256, "SHA-256", 64, "SHA-256, the first 8 bytes, little-endian", -8_086_495_256_948_496_852),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by Python's `hashlib` and `zlib`, by the server's own `md5`, and by django-pglock.
    #[test]
    fn keys_are_frozen() {
        let golden: [(&dyn KeyScheme, [i64; 3]); 4] = [
            (
                &Sha1,
                [
                    -2_661_838_577_447_997_941,
                    8_860_331_044_569_636_278,
                    957_977_401_221_134_810,
                ],
            ),
            (&Crc32, [2_356_372_769, 2_126_685_369, 0]),
            (
                &Md5,
                [
                    -5_999_611_798_422_882_212,
                    4_312_917_370_057_361_399,
                    -3_162_216_497_309_240_828,
                ],
            ),
            (
                &Sha256,
                [
                    -8_086_495_256_948_496_852,
                    -6_931_717_201_624_439_796,
                    1_449_310_910_991_872_227,
                ],
            ),
        ];
        for (scheme, keys) in golden {
            for (name, key) in ["foo", "payment:order-123", ""].into_iter().zip(keys) {
                assert_eq!(scheme.key(name), Key::BigInt(key), "{name:?}");
            }
        }
    }

    #[test]
    fn names_are_bytes() {
        assert_ne!(Sha1.key("foo"), Sha1.key("Foo"));
        assert_ne!(Sha1.key("foo"), Sha1.key("foo "));
        // sha = hashlib.sha1("ключ".encode()).digest(); struct.unpack("<q", sha[:8]), in Python
        assert_eq!(Sha1.key("ключ"), Key::BigInt(7_400_670_229_932_960_435));
    }
}
