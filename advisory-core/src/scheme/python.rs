//! Python.

use super::entry::systems;

#[cfg(feature = "interop")]
use {
    super::digest::{big_endian, crc32, little_endian},
    crate::key::Key,
    crate::scheme::KeyScheme,
    blake2::Blake2b,
    blake2::digest::{Digest as _, consts::U8},
    sha1::Sha1,
    sha2::Sha256,
};

systems! {
    /// [django-pglock](https://github.com/AmbitionEng/django-pglock): `pglock.advisory("…")`.
    ///
    /// A number is the key itself, there and here: `AdvisoryLock::new(42)`. The same keys as
    /// [`Sha256`](crate::scheme::Sha256).
    DjangoPglock {
        label: "django-pglock",
        ecosystem: "Python",
        space: BigInt,
        bits: 64,
        algorithm: "SHA-256, the first 8 bytes, little-endian",
        source: "AmbitionEng/django-pglock 1.8.0, `pglock/core.py`",
        caveat: "refuses the empty name",
        foo: BigInt(-8_086_495_256_948_496_852),
        key: |name| little_endian(&Sha256::digest(name)),
        accepts: |name| !name.is_empty(),
    }

    /// [django-pglocks](https://github.com/Xof/django-pglocks) 1.x: `advisory_lock("…")`.
    ///
    /// Version 2 is [`DjangoPgware`](crate::scheme::DjangoPgware) under the old name, with other
    /// keys: while a deployment rolls from one to the other, they do not exclude each other.
    DjangoPglocks {
        label: "django-pglocks 1.x",
        ecosystem: "Python",
        space: BigInt,
        bits: 32,
        algorithm: "CRC-32, as a signed `integer`",
        source: "Xof/django-pglocks 1.0.4, `django_pglocks/__init__.py`",
        caveat: "sign-extended, so half of its keys are not those of `Crc32`",
        foo: BigInt(-1_938_594_527),
        key: |name| Key::from(crc32(name.as_bytes()).cast_signed()),
        accepts: |_| true,
    }

    /// [django-pgware](https://github.com/Xof/django-pgware), which is django-pglocks 2.x:
    /// `advisory_lock("…")`.
    DjangoPgware {
        label: "django-pgware, django-pglocks 2.x",
        ecosystem: "Python",
        space: BigInt,
        bits: 64,
        algorithm: "SHA-256, the first 8 bytes, big-endian",
        source: "Xof/django-pgware 1.0.0, `django_pg_utils/locks/_lock.py`",
        caveat: "",
        foo: BigInt(3_181_428_560_199_927_439),
        key: |name| big_endian(&Sha256::digest(name)),
        accepts: |_| true,
    }

    /// [sqlalchemy-dlock](https://github.com/tanbro/sqlalchemy-dlock):
    /// `create_sadlock(connection, "…")`.
    SqlalchemyDlock {
        label: "sqlalchemy-dlock",
        ecosystem: "Python",
        space: BigInt,
        bits: 64,
        algorithm: "BLAKE2b with a digest of 8 bytes, in the byte order of the machine",
        source: "tanbro/sqlalchemy-dlock 0.9.0, `sqlalchemy_dlock/lock/postgresql.py`",
        caveat: "a big-endian client (s390x) has other keys; these are the little-endian ones",
        foo: BigInt(-337_013_939_098_483_852),
        key: |name| little_endian(&Blake2b::<U8>::digest(name)),
        accepts: |_| true,
    }

    /// [postgresql-lock](https://github.com/seankerr/py-postgresql-lock): `Lock(connection, "…")`.
    PostgresqlLock {
        label: "postgresql-lock",
        ecosystem: "Python",
        space: BigInt,
        bits: 64,
        algorithm: "SHA-1 of `str(key)`, the first 8 bytes, big-endian",
        source: "seankerr/py-postgresql-lock 0.2.2, `postgresql_lock/lock.py`",
        caveat: "numbers are hashed as well, as their decimal text",
        foo: BigInt(859_844_163_007_352_795),
        key: |name| big_endian(&Sha1::digest(name)),
        accepts: |_| true,
    }

    /// [PALs](https://github.com/level12/pals) without an application's name:
    /// `pals.Locker(None, url).lock("…")`.
    ///
    /// With one, it is [`Pals::app`]. The same keys as [`Sha1`](crate::scheme::Sha1), the default
    /// here.
    Pals {
        label: "PALs",
        ecosystem: "Python",
        space: BigInt,
        bits: 64,
        algorithm: "SHA-1 of `app_name.name`, the first 8 bytes, in the byte order of the machine",
        source: "level12/pals 0.4.0, `pals/core.py`",
        caveat: "a big-endian client (s390x) has other keys; these are the little-endian ones",
        foo: BigInt(-2_661_838_577_447_997_941),
        key: |name| little_endian(&Sha1::digest(name)),
        accepts: |_| true,
    }
}

#[cfg(feature = "interop")]
impl Pals {
    /// The locks of `pals.Locker("app_name", url)`.
    ///
    /// ```
    /// use advisory_core::{AdvisoryLock, scheme::Pals};
    ///
    /// let lock = AdvisoryLock::with_scheme("report", Pals::app("billing"));
    /// assert_eq!(lock.keys(), AdvisoryLock::with_scheme("billing.report", Pals).keys());
    /// ```
    pub fn app(app_name: impl Into<String>) -> impl KeyScheme + Clone + Send + Sync + 'static {
        let app_name = app_name.into();
        move |name: &str| Pals.key(&format!("{app_name}.{name}"))
    }
}
