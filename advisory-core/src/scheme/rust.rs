//! Rust.

use super::entry::systems;

#[cfg(feature = "interop")]
use {
    super::digest::{big_endian, little_endian},
    super::distributed_lock::{packed, port_hexadecimal},
    super::fnv::fnv1a_64,
    crate::key::Key,
    sha1::Sha1,
    sha2::{Digest as _, Sha256},
    sqlx::postgres::PgAdvisoryLock,
};

systems! {
    /// sqlx's own
    /// [`PgAdvisoryLock::new`](https://docs.rs/sqlx/0.9.0/sqlx/postgres/struct.PgAdvisoryLock.html#method.new).
    ///
    /// sqlx is asked for the key, which it guarantees to be stable.
    SqlxAdvisoryLock {
        label: "sqlx `PgAdvisoryLock`",
        ecosystem: "Rust",
        space: BigInt,
        bits: 64,
        algorithm: "HKDF-SHA-256 without salt, with the info `SQLx (Rust) Postgres advisory lock`, 8 bytes, little-endian",
        source: "transact-rs/sqlx 0.9.0, `sqlx-postgres/src/advisory_lock.rs`",
        caveat: "",
        foo: BigInt(171_470_676_134_381_313),
        key: |name| Key::from(PgAdvisoryLock::new(name).key().clone()),
        accepts: |_| true,
    }

    /// [distributed-lock-postgres](https://github.com/XuHaoJun/distributed-lock-rs), a port of
    /// [`DistributedLock`](crate::scheme::DistributedLock).
    ///
    /// It packs as the original does but takes the result as one `bigint`, and reads numbers as
    /// signed ones: the two share a lock only where a name is hashed, or is a pair of small
    /// numbers.
    DistributedLockRs {
        label: "distributed-lock-postgres",
        ecosystem: "Rust",
        space: Either,
        bits: 64,
        algorithm: "up to 9 ASCII characters: 7 bits each, a 0, then ones; 16 hexadecimal digits, signed: that; two such \
            numbers with a comma between: those `integer`s; else SHA-1, the first 8 bytes, little-endian",
        source: "XuHaoJun/distributed-lock-rs, distributed-lock-postgres 0.2.0, `src/key.rs`",
        caveat: "refuses the empty name; numbers above half of their range are hashed; `12345,67890` is a pair",
        foo: BigInt(-3_621_039_235_940_745_217),
        key: |name| match packed(name) {
            Some(bits) => Key::BigInt(bits.cast_signed()),
            None => port_hexadecimal(name).unwrap_or_else(|| little_endian(&Sha1::digest(name))),
        },
        accepts: |name| !name.is_empty(),
    }

    /// [autumn-web](https://docs.rs/autumn-web/0.9.0/autumn_web/lock/index.html)'s `Lock`.
    AutumnWeb {
        label: "autumn-web",
        ecosystem: "Rust",
        space: BigInt,
        bits: 64,
        algorithm: "SHA-256 of `autumn:lock:v1`, a zero byte and the name, the first 8 bytes, big-endian",
        source: "autumn-web 0.9.0, `src/lock.rs`",
        caveat: "",
        foo: BigInt(-5_700_225_390_669_407_801),
        key: |name| big_endian(&Sha256::digest(format!("autumn:lock:v1\0{name}"))),
        accepts: |_| true,
    }

    /// [malkuth](https://github.com/celestia-island/malkuth)'s `PgLock`, and others that hash with
    /// FNV-1a of 64 bits.
    Malkuth {
        label: "malkuth",
        ecosystem: "Rust",
        space: BigInt,
        bits: 64,
        algorithm: "FNV-1a, 64 bits",
        source: "celestia-island/malkuth 0.5.0, `src/pg_lock.rs`",
        caveat: "",
        foo: BigInt(-2_543_842_089_295_555_209),
        key: |name| Key::BigInt(fnv1a_64(name.as_bytes()).cast_signed()),
        accepts: |_| true,
    }
}
