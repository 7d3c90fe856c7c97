//! From a digest to a key.

use crate::key::Key;

const ZLIB: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// CRC-32 as zlib has it.
pub(crate) fn crc32(text: &[u8]) -> u32 {
    ZLIB.checksum(text)
}

/// The lock of sqlx's migrator on a database.
#[cfg(any(feature = "interop", feature = "migrate"))]
pub(crate) fn sqlx_migrate(database: &str) -> Key {
    Key::BigInt(0x3d32_ad9e * i64::from(crc32(database.as_bytes())))
}

/// The first 8 bytes as one `bigint`.
pub(crate) fn little_endian(digest: &[u8]) -> Key {
    Key::BigInt(i64::from_le_bytes(first_eight(digest)))
}

/// The first 8 bytes as one `bigint`.
pub(crate) fn big_endian(digest: &[u8]) -> Key {
    Key::BigInt(i64::from_be_bytes(first_eight(digest)))
}

/// The first 4 bytes, and the next 4.
#[cfg(feature = "interop")]
pub(crate) fn little_endian_pair(digest: &[u8]) -> Key {
    halves(u64::from_le_bytes(first_eight(digest)).rotate_left(32))
}

/// A number of 64 bits as its upper and its lower half.
#[cfg(feature = "interop")]
pub(crate) fn halves(bits: u64) -> Key {
    let (classid, objid, _) = Key::BigInt(bits.cast_signed()).to_pg_locks();
    Key::IntPair(classid.cast_signed(), objid.cast_signed())
}

fn first_eight(digest: &[u8]) -> [u8; 8] {
    // The shortest digest here has 8 bytes.
    *digest
        .first_chunk()
        .expect("BUG: a digest of fewer than 8 bytes")
}
