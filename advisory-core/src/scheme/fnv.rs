//! Fowler, Noll and Vo's hash. The crate `fnv` has one of its four forms, the other three are as
//! short.

const OFFSET_32: u32 = 0x811c_9dc5;
const PRIME_32: u32 = 0x0100_0193;
const OFFSET_64: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME_64: u64 = 0x0100_0000_01b3;

/// FNV-1, 32 bits: multiplies, then mixes in the byte.
pub(super) fn fnv1_32(text: &[u8]) -> u32 {
    text.iter().fold(OFFSET_32, |hash, &byte| {
        hash.wrapping_mul(PRIME_32) ^ u32::from(byte)
    })
}

/// FNV-1, 64 bits.
pub(super) fn fnv1_64(text: &[u8]) -> u64 {
    text.iter().fold(OFFSET_64, |hash, &byte| {
        hash.wrapping_mul(PRIME_64) ^ u64::from(byte)
    })
}

/// FNV-1a, 64 bits: mixes in the byte, then multiplies.
pub(super) fn fnv1a_64(text: &[u8]) -> u64 {
    text.iter().fold(OFFSET_64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME_64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Go's own `src/hash/fnv/fnv_test.go`.
    #[test]
    fn go_hashes_the_same() {
        assert_eq!(fnv1_32(b""), 0x811c_9dc5);
        assert_eq!(fnv1_32(b"a"), 0x050c_5d7e);
        assert_eq!(fnv1_32(b"ab"), 0x7077_2d38);
        assert_eq!(fnv1_32(b"abc"), 0x439c_2f4b);
        assert_eq!(fnv1_64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1_64(b"a"), 0xaf63_bd4c_8601_b7be);
        assert_eq!(fnv1_64(b"ab"), 0x0832_6707_b4eb_37b8);
        assert_eq!(fnv1_64(b"abc"), 0xd8dc_ca18_6baf_adcb);
        assert_eq!(fnv1a_64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a_64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a_64(b"ab"), 0x089c_4407_b545_986a);
        assert_eq!(fnv1a_64(b"abc"), 0xe71f_a219_0541_574b);
    }
}
