//! Go.

use super::entry::systems;

#[cfg(feature = "interop")]
use {
    super::fnv::{fnv1_32, fnv1_64},
    crate::key::Key,
    crate::scheme::KeyScheme,
};

systems! {
    /// [River](https://github.com/riverqueue/river)'s advisory locks (`hashutil.AdvisoryLockHash`)
    /// without a prefix.
    ///
    /// With `AdvisoryLockPrefix`, it is [`River::prefixed`]. The name is all that River has written
    /// into the hash.
    River {
        label: "River",
        ecosystem: "Go",
        space: BigInt,
        bits: 64,
        algorithm: "FNV-1, 64 bits",
        source: "riverqueue/river, `rivershared/util/hashutil/hash_util.go`",
        caveat: "FNV-1, not FNV-1a",
        foo: BigInt(-2_824_945_433_545_984_717),
        key: |name| Key::BigInt(fnv1_64(name.as_bytes()).cast_signed()),
        accepts: |_| true,
    }

    /// [Atlas](https://github.com/ariga/atlas): the lock of this name on a schema.
    Atlas {
        label: "Atlas",
        ecosystem: "Go",
        space: BigInt,
        bits: 32,
        algorithm: "FNV-1, 32 bits, unsigned",
        source: "ariga/atlas, `sql/postgres/driver.go`, `(*Driver).Lock`",
        caveat: "",
        foo: BigInt(1_083_137_555),
        key: |name| Key::from(fnv1_32(name.as_bytes())),
        accepts: |_| true,
    }
}

#[cfg(feature = "interop")]
impl River {
    /// The locks of a client whose `AdvisoryLockPrefix` is `prefix`: it in the upper half, FNV-1 of
    /// 32 bits in the lower.
    ///
    /// Zero is no prefix, as it is there.
    ///
    /// ```
    /// use advisory_core::{Key, KeyScheme, scheme::River};
    ///
    /// assert_eq!(River::prefixed(1).key("foo"), Key::BigInt(0x1_0000_0000 + 1083137555));
    /// assert_eq!(River::prefixed(0).key("foo"), River.key("foo"));
    /// ```
    pub fn prefixed(prefix: i32) -> impl KeyScheme + Clone + Send + Sync + 'static {
        move |name: &str| match prefix {
            0 => River.key(name),
            prefix => {
                let hash = fnv1_32(name.as_bytes());
                Key::BigInt(i64::from(prefix) << 32 | i64::from(hash))
            }
        }
    }
}
