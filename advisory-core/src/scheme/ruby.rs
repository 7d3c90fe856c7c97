//! Ruby.

use super::entry::systems;

#[cfg(feature = "interop")]
use {
    super::digest::{big_endian, crc32},
    super::to_i::to_i,
    crate::key::Key,
    crate::scheme::KeyScheme,
    md5::{Digest as _, Md5},
};

systems! {
    /// [with_advisory_lock](https://github.com/ClosureTree/with_advisory_lock) without a prefix:
    /// `Model.with_advisory_lock("…")`.
    ///
    /// With the environment variable `WITH_ADVISORY_LOCK_PREFIX`, it is
    /// [`WithAdvisoryLock::prefixed`]. A number as a name is not hashed: its lock is
    /// `AdvisoryLock::new((number & i32::MAX, 0))`.
    WithAdvisoryLock {
        label: "with_advisory_lock",
        ecosystem: "Ruby",
        space: IntPair,
        bits: 31,
        algorithm: "CRC-32 without its highest bit, and 0 or the prefix as a number",
        source: "ClosureTree/with_advisory_lock 7.5.0, `lib/with_advisory_lock/postgresql_advisory.rb`",
        caveat: "31 bits; a prefix counts only as far as it begins with digits",
        foo: IntPair(208_889_121, 0),
        key: |name| Key::IntPair(low_31_bits(name), 0),
        accepts: |_| true,
    }

    /// Heroku's [pg_lock](https://github.com/heroku/pg_lock): `PgLock.new(name: "…")`.
    HerokuPgLock {
        label: "pg_lock (Heroku)",
        ecosystem: "Ruby",
        space: IntPair,
        bits: 32,
        algorithm: "-2147483648, and CRC-32 as a signed `integer`",
        source: "heroku/pg_lock, `lib/pg_lock.rb`",
        caveat: "",
        foo: IntPair(-2_147_483_648, -1_938_594_527),
        key: |name| Key::IntPair(i32::MIN, crc32(name.as_bytes()).cast_signed()),
        accepts: |_| true,
    }

    /// [good_job](https://github.com/bensheldon/good_job): the lock on the job with this id.
    ///
    /// For the rows of another model, it is [`GoodJob::table`].
    /// `GoodJob::Job.advisory_lock_key("…")` hashes the bare text, and is
    /// [`Md5`](crate::scheme::Md5). Where `hash_function` was set to `hashtext`, it is
    /// [`Hashtext`](crate::scheme::Hashtext) on the same text.
    GoodJob {
        label: "good_job",
        ecosystem: "Ruby",
        space: BigInt,
        bits: 64,
        algorithm: "MD5 of `good_jobs-id`, the first 8 bytes, big-endian, by the server",
        source: "bensheldon/good_job 4, `app/models/concerns/good_job/advisory_lockable.rb`",
        caveat: "the server hashes, so the name cannot hold a zero character",
        foo: BigInt(-7_006_475_487_774_896_295),
        key: |id| row("good_jobs", id),
        accepts: |id| !id.contains('\0'),
    }
}

#[cfg(feature = "interop")]
fn low_31_bits(name: &str) -> i32 {
    (crc32(name.as_bytes()) & 0x7fff_ffff).cast_signed()
}

#[cfg(feature = "interop")]
fn row(table: &str, id: &str) -> Key {
    big_endian(&Md5::digest(format!("{table}-{id}")))
}

#[cfg(feature = "interop")]
impl WithAdvisoryLock {
    /// The locks of processes in which `WITH_ADVISORY_LOCK_PREFIX` is set to `prefix`.
    ///
    /// Ruby reads it as a number: `7abc` is 7, and `staging` is 0, which is no prefix at all.
    ///
    /// ```
    /// use advisory_core::{Key, KeyScheme, scheme::WithAdvisoryLock};
    ///
    /// assert_eq!(WithAdvisoryLock::prefixed("7abc").key("foo"), Key::IntPair(208889121, 7));
    /// assert_eq!(WithAdvisoryLock::prefixed("staging").key("foo"), WithAdvisoryLock.key("foo"));
    /// ```
    pub fn prefixed(prefix: &str) -> impl KeyScheme + Clone + Send + Sync + 'static + use<> {
        let number = to_i(prefix);
        move |name: &str| Key::IntPair(low_31_bits(name), number)
    }
}

#[cfg(feature = "interop")]
impl GoodJob {
    /// The locks of a model that includes `GoodJob::AdvisoryLockable`, on the rows of its table.
    ///
    /// ```
    /// use advisory_core::{KeyScheme, scheme::{GoodJob, Md5}};
    ///
    /// assert_eq!(GoodJob::table("accounts").key("7"), Md5.key("accounts-7"));
    /// ```
    pub fn table(table: impl Into<String>) -> impl KeyScheme + Clone + Send + Sync + 'static {
        let table = table.into();
        move |id: &str| row(&table, id)
    }
}
