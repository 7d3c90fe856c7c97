//! How a name becomes a [`Key`].
//!
//! Two programs share a lock only if they turn its name into the same key, so each scheme here is frozen: it maps a name to
//! the same key for ever, on every machine, compiler and version of this crate. Golden tests pin it.
//!
//! All take the UTF-8 bytes of the name, whole: names are case-sensitive, and the empty name is a name like any other.
//! With keys of 64 bits, about 600 million names have a 1 % chance that any two of them meet; with the 32 bits of [`Crc32`],
//! 9,300 names do.

use md5::Digest as _;

use crate::Key;

/// Turns a name into a [`Key`].
///
/// Every `Fn(&str) -> K` with `K: Into<Key>` is one:
///
/// ```
/// use advisory_core::{AdvisoryLock, Key};
///
/// let by_length = |name: &str| (7, i32::try_from(name.len()).unwrap_or(i32::MAX));
/// let lock = AdvisoryLock::with_scheme("sync", by_length);
/// assert_eq!(lock.keys(), [Key::IntPair(7, 4)]);
/// ```
pub trait KeyScheme {
    /// The key of `name`.
    fn key(&self, name: &str) -> Key;
}

impl<F, K> KeyScheme for F
where
    F: Fn(&str) -> K,
    K: Into<Key>,
{
    fn key(&self, name: &str) -> Key {
        self(name).into()
    }
}

/// The default: SHA-1, the first 8 bytes, little-endian, signed.
///
/// The same keys as Python's `struct.unpack("<q", hashlib.sha1(name.encode()).digest()[:8])`. SHA-1 is used for its spread,
/// not for its secrecy.
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
        Key::BigInt(i64::from_le_bytes(first_eight(&sha1::Sha1::digest(name))))
    }
}

/// CRC-32 (ISO-HDLC, as in zlib), unsigned, as a `bigint`.
///
/// The same keys as Python's `zlib.crc32(name.encode())`. Only 32 of the 64 bits are used: prefer [`Sha1`] for new names.
///
/// ```
/// use advisory_core::{Key, KeyScheme, scheme::Crc32};
///
/// assert_eq!(Crc32.key("foo"), Key::BigInt(2356372769));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crc32;

const ZLIB: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

impl KeyScheme for Crc32 {
    fn key(&self, name: &str) -> Key {
        Key::BigInt(ZLIB.checksum(name.as_bytes()).into())
    }
}

/// MD5, the first 8 bytes, big-endian, signed.
///
/// The same keys as Python's `int.from_bytes(hashlib.md5(name.encode()).digest()[:8], "big", signed=True)`.
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
        Key::BigInt(i64::from_be_bytes(first_eight(&md5::Md5::digest(name))))
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
        Key::BigInt(i64::from_le_bytes(first_eight(&sha2::Sha256::digest(name))))
    }
}

fn first_eight(digest: &[u8]) -> [u8; 8] {
    // The shortest digest here, MD5's, has 16 bytes.
    *digest
        .first_chunk()
        .expect("BUG: a digest of fewer than 8 bytes")
}

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
        // python3 -c 'import hashlib,struct; print(struct.unpack("<q", hashlib.sha1("ключ".encode()).digest()[:8]))'
        assert_eq!(Sha1.key("ключ"), Key::BigInt(7_400_670_229_932_960_435));
    }

    #[test]
    fn a_closure_is_a_scheme() {
        let scheme = |name: &str| (1, i32::from(name.is_empty()));
        assert_eq!(scheme.key(""), Key::IntPair(1, 1));
        let through = |name: &str| Md5.key(name);
        assert_eq!(through.key("foo"), Md5.key("foo"));
    }
}
