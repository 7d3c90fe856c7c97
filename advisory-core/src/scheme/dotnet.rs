//! .NET.

use super::entry::systems;

#[cfg(feature = "interop")]
use {
    super::digest::{halves, little_endian},
    super::distributed_lock::{hexadecimal, packed},
    sha1::{Digest as _, Sha1},
};

systems! {
    /// [DistributedLock](https://github.com/madelson/DistributedLock) for .NET:
    /// `new PostgresAdvisoryLockKey("…", allowHashing: true)`.
    ///
    /// A name of up to 9 ASCII characters is packed, and of two such names none have the same key.
    /// One that looks like `0123456789abcdef` or `01234567,89abcdef` is that number, or these. All
    /// others are hashed, which the original does only with `allowHashing`, and then have the keys
    /// of [`Sha1`](crate::scheme::Sha1).
    DistributedLock {
        label: "DistributedLock",
        ecosystem: ".NET",
        space: Either,
        bits: 64,
        algorithm: "up to 9 ASCII characters: 7 bits each, a 0, then ones, as two `integer`s; 16 hexadecimal digits: that \
            `bigint`; 8, a comma and 8: those `integer`s; else SHA-1, the first 8 bytes, little-endian, as one `bigint`",
        source: "madelson/DistributedLock, DistributedLock.Postgres 1.3.0, `PostgresAdvisoryLockKey.cs`",
        caveat: "the key space changes at ten characters",
        foo: IntPair(-843_088_897, -1),
        key: |name| match packed(name) {
            Some(bits) => halves(bits),
            None => hexadecimal(name).unwrap_or_else(|| little_endian(&Sha1::digest(name))),
        },
        accepts: |_| true,
    }
}
