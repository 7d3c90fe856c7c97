//! PHP.

use super::entry::systems;

#[cfg(feature = "interop")]
use {
    super::digest::{crc32, little_endian_pair},
    super::hashtext::hashtext,
    crate::key::Key,
    md5::{Digest as _, Md5},
    sha2::Sha256,
};

systems! {
    /// [Symfony Lock](https://github.com/symfony/lock): `PostgreSqlStore` and
    /// `DoctrineDbalPostgreSqlStore`.
    ///
    /// The same keys as [`Crc32`](crate::scheme::Crc32).
    SymfonyLock {
        label: "Symfony Lock",
        ecosystem: "PHP",
        space: BigInt,
        bits: 32,
        algorithm: "CRC-32, unsigned",
        source: "symfony/symfony 5.4 and later, `src/Symfony/Component/Lock/Store/PostgreSqlStore.php`",
        caveat: "",
        foo: BigInt(2_356_372_769),
        key: |name| Key::from(crc32(name.as_bytes())),
        accepts: |_| true,
    }

    /// [php-lock](https://github.com/php-lock/lock) 3.x: `new PostgreSQLMutex($pdo, "…")`.
    PhpLock {
        label: "php-lock 3.x",
        ecosystem: "PHP",
        space: IntPair,
        bits: 64,
        algorithm: "MD5 of `php-malkusch-lock:name`, the first 4 bytes and the next 4, little-endian",
        source: "php-lock/lock 3, `src/Mutex/PostgreSQLMutex.php`",
        caveat: "",
        foo: IntPair(-871_671_818, -127_879_728),
        key: |name| little_endian_pair(&Md5::digest(format!("php-malkusch-lock:{name}"))),
        accepts: |_| true,
    }

    /// [php-lock](https://github.com/php-lock/lock) 2.x: `new PgAdvisoryLockMutex($pdo, "…")`.
    ///
    /// Version 3 has other keys: while a deployment rolls from one to the other, they do not
    /// exclude each other. The same keys as [`NpmAdvisoryLock`](crate::scheme::NpmAdvisoryLock).
    PhpLock2 {
        label: "php-lock 2.x",
        ecosystem: "PHP",
        space: IntPair,
        bits: 64,
        algorithm: "SHA-256, the first 4 bytes and the next 4, in the byte order of the machine",
        source: "php-lock/lock 2.2.1, `classes/mutex/PgAdvisoryLockMutex.php`",
        caveat: "a big-endian client (s390x) has other keys; these are the little-endian ones",
        foo: IntPair(1_806_968_364, -1_882_783_896),
        key: |name| little_endian_pair(&Sha256::digest(name)),
        accepts: |_| true,
    }

    /// [laravel-database-advisory-lock](https://github.com/mpyw/laravel-database-advisory-lock).
    ///
    /// The server hashes: the same keys as [`Hashtext`](crate::scheme::Hashtext), with all that is
    /// said there.
    LaravelAdvisoryLock {
        label: "laravel-database-advisory-lock",
        ecosystem: "PHP",
        space: BigInt,
        bits: 32,
        algorithm: "the server's `hashtext`",
        source: "mpyw/laravel-database-advisory-lock, `src/PostgresSessionLocker.php`",
        caveat: "undocumented by PostgreSQL; of a little-endian server with the encoding UTF8",
        foo: BigInt(1_955_559_433),
        key: |name| Key::from(hashtext(name.as_bytes())),
        accepts: |name| !name.contains('\0'),
    }
}
