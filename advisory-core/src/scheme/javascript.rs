//! JavaScript.

use super::entry::systems;

#[cfg(feature = "interop")]
use {
    super::digest::little_endian_pair,
    sha2::{Digest as _, Sha256},
};

systems! {
    /// npm's [advisory-lock](https://github.com/olalonde/advisory-lock), and its command
    /// `withlock`.
    ///
    /// The same eight bytes as [`DjangoPglock`](crate::scheme::DjangoPglock), in the other key
    /// space: the two do not exclude each other.
    NpmAdvisoryLock {
        label: "advisory-lock, withlock",
        ecosystem: "JavaScript",
        space: IntPair,
        bits: 64,
        algorithm: "SHA-256, the first 4 bytes and the next 4, little-endian",
        source: "olalonde/advisory-lock 2.0.0, `src/index.ts`",
        caveat: "",
        foo: IntPair(1_806_968_364, -1_882_783_896),
        key: |name| little_endian_pair(&Sha256::digest(name)),
        accepts: |_| true,
    }
}
