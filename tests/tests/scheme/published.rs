//! Keys that other projects publish in their tests. Single keys of others are in `vectors.json`.

use std::collections::HashSet;

use advisory_core::scheme::{DistributedLock, PhpLock, River};
use advisory_core::{Key, KeyScheme};

/// From `PostgresAdvisoryLockKeyTest.cs` of `DistributedLock` for .NET, which cannot be run here.
#[test]
fn keys_of_distributed_lock_are_reproduced() {
    let key = |name: &str| DistributedLock.key(name);
    assert_eq!(
        key(&"漢".repeat(18)),
        Key::BigInt(-5_707_277_204_051_710_361)
    );
    assert_eq!(key("0000000000000001"), Key::BigInt(1));
    assert_eq!(key("00000003,ffffffff"), Key::IntPair(3, -1));
    assert_eq!(key(&"0".repeat(16)), Key::BigInt(0));
    assert_eq!(key("00000000,00000000"), Key::IntPair(0, 0));
    assert_eq!(key(&"\0".repeat(9)), Key::IntPair(0, 0));
    let mut seen = HashSet::from([key("")]);
    for character in '\u{1}'..'\u{80}' {
        for length in 1..=9 {
            let key = key(&character.to_string().repeat(length));
            assert!(matches!(key, Key::IntPair(..)) && seen.insert(key));
        }
    }
    assert!(matches!(key("漢字"), Key::BigInt(_)));
    assert!(matches!(key(&"A".repeat(10)), Key::BigInt(_)));
}

/// From `tests/Mutex/PostgreSQLMutexTest.php` of php-lock 3 and
/// `rivershared/util/hashutil/hash_util_test.go` of River.
#[test]
fn keys_of_php_lock_and_river_are_reproduced() {
    let php = PhpLock.key("test-one-negative-key");
    assert_eq!(php, Key::IntPair(533_558_444, -1_716_795_572));
    let text = "some content for hashing purposes";
    let river = River.key(text);
    assert_eq!(river, Key::BigInt(1_854_036_014_321_452_184));
    let prefixed = River::prefixed(i32::MAX).key(text);
    let key = (i64::from(i32::MAX) << 32) + 764_501_624;
    assert_eq!(prefixed, Key::BigInt(key));
}
