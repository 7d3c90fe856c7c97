//! What PostgreSQL's `hashtext` and `hashtextextended` make of a name, on a little-endian machine.
//!
//! The server's functions are for its own hash joins and indexes: undocumented, and read by the
//! word, so that a big-endian server has other values. They are Bob Jenkins' lookup3 with a start
//! value of its own and a last block in which the lowest byte of the third word stays free; no
//! crate has that. Source: `src/common/hashfn.c`, PostgreSQL 14 to 18.

/// Hashes 12 bytes at a time into three words, of which each function returns what it needs.
struct Words(u32, u32, u32);

impl Words {
    fn of(text: &[u8]) -> Self {
        // PostgreSQL's own lengths are `int`s, and no text is longer than 1 GB.
        #[expect(clippy::cast_possible_truncation, reason = "as the server counts")]
        let length = text.len() as u32;
        let start = 0x9e37_79b9_u32.wrapping_add(length).wrapping_add(3_923_095);
        let mut words = Self(start, start, start);
        let (blocks, rest) = text.as_chunks::<12>();
        for block in blocks {
            words.add(block);
            words.mix();
        }
        words.add(&last(rest));
        words.finish();
        words
    }

    fn add(&mut self, block: &[u8; 12]) {
        let word = |at: usize| {
            u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
        };
        self.0 = self.0.wrapping_add(word(0));
        self.1 = self.1.wrapping_add(word(4));
        self.2 = self.2.wrapping_add(word(8));
    }

    fn mix(&mut self) {
        let Self(mut a, mut b, mut c) = *self;
        for (first, second, third) in [(4, 6, 8), (16, 19, 4)] {
            a = a.wrapping_sub(c) ^ c.rotate_left(first);
            c = c.wrapping_add(b);
            b = b.wrapping_sub(a) ^ a.rotate_left(second);
            a = a.wrapping_add(c);
            c = c.wrapping_sub(b) ^ b.rotate_left(third);
            b = b.wrapping_add(a);
        }
        *self = Self(a, b, c);
    }

    fn finish(&mut self) {
        let Self(mut a, mut b, mut c) = *self;
        c = (c ^ b).wrapping_sub(b.rotate_left(14));
        a = (a ^ c).wrapping_sub(c.rotate_left(11));
        b = (b ^ a).wrapping_sub(a.rotate_left(25));
        c = (c ^ b).wrapping_sub(b.rotate_left(16));
        a = (a ^ c).wrapping_sub(c.rotate_left(4));
        b = (b ^ a).wrapping_sub(a.rotate_left(14));
        c = (c ^ b).wrapping_sub(b.rotate_left(24));
        *self = Self(a, b, c);
    }
}

/// The last 0 to 11 bytes as a block: the ninth byte is the free one.
fn last(rest: &[u8]) -> [u8; 12] {
    let mut block = [0; 12];
    for (index, &byte) in rest.iter().enumerate() {
        block[if index < 8 { index } else { index + 1 }] = byte;
    }
    block
}

/// `hashtext(text)`.
pub(super) fn hashtext(text: &[u8]) -> i32 {
    Words::of(text).2.cast_signed()
}

/// `hashtextextended(text, 0)`.
pub(super) fn hashtextextended(text: &[u8]) -> i64 {
    let Words(_, upper, lower) = Words::of(text);
    (u64::from(upper) << 32 | u64::from(lower)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by PostgreSQL 15 and 18.
    #[test]
    fn the_server_hashes_the_same() {
        for (name, short, long) in [
            ("foo", 1_955_559_433, -1_635_844_193_734_658_039),
            (
                "payment:order-123",
                -1_536_535_568,
                5_806_998_960_378_369_008,
            ),
            ("", -1_477_818_771, -6_939_563_903_564_495_251),
        ] {
            assert_eq!(hashtext(name.as_bytes()), short, "{name:?}");
            assert_eq!(hashtextextended(name.as_bytes()), long, "{name:?}");
        }
    }
}
