//! PostgreSQL itself.

use super::entry::systems;

#[cfg(feature = "interop")]
use {
    super::hashtext::{hashtext, hashtextextended},
    crate::key::Key,
};

systems! {
    /// `pg_advisory_lock(hashtext('…'))`, as many applications write it.
    ///
    /// PostgreSQL does not document the function, and need not keep it: its values have been the
    /// same from 14 to 18, but depend on the server's byte order, and the text's bytes on the
    /// database's encoding. These are the values of a little-endian server with the encoding UTF8.
    /// For a lock of your own, take another scheme.
    Hashtext {
        label: "`hashtext`",
        ecosystem: "PostgreSQL",
        space: BigInt,
        bits: 32,
        algorithm: "the server's `hashtext`, sign-extended",
        source: "postgres/postgres, `src/common/hashfn.c`, `hash_bytes`",
        caveat: "undocumented by PostgreSQL; of a little-endian server with the encoding UTF8",
        foo: BigInt(1_955_559_433),
        key: |name| Key::from(hashtext(name.as_bytes())),
        accepts: |name| !name.contains('\0'),
    }

    /// `pg_advisory_lock(hashtextextended('…', 0))`.
    ///
    /// The notes of [`Hashtext`] apply here, too.
    HashtextExtended {
        label: "`hashtextextended`",
        ecosystem: "PostgreSQL",
        space: BigInt,
        bits: 64,
        algorithm: "the server's `hashtextextended` with the seed 0",
        source: "postgres/postgres, `src/common/hashfn.c`, `hash_bytes_extended`",
        caveat: "undocumented by PostgreSQL; of a little-endian server with the encoding UTF8",
        foo: BigInt(-1_635_844_193_734_658_039),
        key: |name| Key::BigInt(hashtextextended(name.as_bytes())),
        accepts: |name| !name.contains('\0'),
    }
}
