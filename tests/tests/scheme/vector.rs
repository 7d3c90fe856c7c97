//! Some keys of each system, computed with the system itself if it could be run.

use std::collections::HashSet;

use advisory_core::{Key, KeyScheme as _, known, scheme};
use serde_json::Value;

const VECTORS: &str = include_str!("vectors.json");

/// The source of a vector: a scheme, or a known lock in a database of this name.
enum Source {
    Scheme(&'static str),
    Known(&'static str),
}

impl Source {
    fn key(&self, name: &str) -> Option<Key> {
        match self {
            // The hash alone, because the vectors include the empty name, which django-pglock
            // refuses.
            Self::Scheme("DjangoPglock") => Some(scheme::DjangoPglock.key(name)),
            Self::Scheme(scheme) => {
                let mut systems = scheme::systems();
                systems.find(|system| system.scheme == *scheme)?.key(name)
            }
            Self::Known(label) => {
                let mut known = known::all().iter();
                known.find(|known| known.label == *label)?.key(Some(name))
            }
        }
    }
}

/// The titles of the vectors, each with everything that has these keys.
const TITLES: [(&str, &[Source]); 26] = {
    use Source::{Known, Scheme};
    [
        (
            "crc32 unsigned -> int8 (zlib.crc32; Symfony Lock)",
            &[Scheme("Crc32"), Scheme("SymfonyLock")],
        ),
        (
            "crc32 as signed int4 -> int8 (django-pglocks 1.x)",
            &[Scheme("DjangoPglocks")],
        ),
        ("heroku pg_lock (int4,int4)", &[Scheme("HerokuPgLock")]),
        (
            "with_advisory_lock 7.5 (int4,int4), no prefix",
            &[Scheme("WithAdvisoryLock")],
        ),
        (
            "django-pglock (sha256[0:8] LE)",
            &[Scheme("Sha256"), Scheme("DjangoPglock")],
        ),
        (
            "django-pgware 1.0 / django-pglocks 2.x (sha256[0:8] BE)",
            &[Scheme("DjangoPgware")],
        ),
        (
            "advisory-lock npm / withlock (int4,int4)",
            &[Scheme("NpmAdvisoryLock"), Scheme("PhpLock2")],
        ),
        (
            "sqlalchemy-dlock (blake2b-64, native=LE)",
            &[Scheme("SqlalchemyDlock")],
        ),
        (
            "postgresql-lock py (sha1[0:8] BE)",
            &[Scheme("PostgresqlLock")],
        ),
        (
            "PALs / sha1[0:8] LE (app_name=None)",
            &[Scheme("Sha1"), Scheme("Pals")],
        ),
        (
            "sqlx PgAdvisoryLock::new (HKDF-SHA256 LE)",
            &[Scheme("SqlxAdvisoryLock")],
        ),
        (
            "DistributedLock .NET (allowHashing)",
            &[Scheme("DistributedLock")],
        ),
        ("distributed-lock-rs 0.2", &[Scheme("DistributedLockRs")]),
        ("md5[0:8] BE", &[Scheme("Md5")]),
        (
            "good_job (md5[0:8] BE of \"good_jobs-\"+n)",
            &[Scheme("GoodJob")],
        ),
        (
            "php-lock >=3 (md5(\"php-malkusch-lock:\"+n), int4 LE pair)",
            &[Scheme("PhpLock")],
        ),
        ("River unique (deprecated), FNV-1 64", &[Scheme("River")]),
        ("Atlas schema lock, FNV-1 32 -> int8", &[Scheme("Atlas")]),
        ("sqlx migrate (n=database)", &[Known("sqlx migrate")]),
        (
            "Rails migrations (n=database)",
            &[Known("Rails migrations")],
        ),
        (
            "golang-migrate (n=database only)",
            &[Known("golang-migrate 3")],
        ),
        (
            "golang-migrate pg (public\\0schema_migrations\\0n)",
            &[Known("golang-migrate")],
        ),
        (
            "PG15 hashtext(text)::int8",
            &[Scheme("Hashtext"), Scheme("LaravelAdvisoryLock")],
        ),
        (
            "PG15 hashtextextended(text,0)",
            &[Scheme("HashtextExtended")],
        ),
        (
            "autumn-web 0.9 (sha256('autumn:lock:v1\\0'+n)[0:8] BE)",
            &[Scheme("AutumnWeb")],
        ),
        ("FNV-1a 64 -> int8 (malkuth)", &[Scheme("Malkuth")]),
    ]
};

/// The key in `{"space": "int8", "key": 1}` or `{"space": "int4x2", "key": [1, 2]}`; `None` in
/// `{"error": …}`.
fn key_in(vector: &Value) -> Option<Key> {
    let number = |value: &Value| value.as_i64().expect("it is a number");
    let half = |value: &Value| i32::try_from(number(value)).expect("it has 32 bits");
    match vector["space"].as_str() {
        Some("int8") => Some(Key::BigInt(number(&vector["key"]))),
        Some("int4x2") => Some(Key::IntPair(
            half(&vector["key"][0]),
            half(&vector["key"][1]),
        )),
        other => {
            assert!(other.is_none() && vector["error"].is_string(), "{vector}");
            None
        }
    }
}

#[test]
fn every_vector_is_reproduced() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let vectors = vectors.as_object().unwrap();
    let titles: HashSet<_> = TITLES.iter().map(|(title, _)| *title).collect();
    assert_eq!(titles, vectors.keys().map(String::as_str).collect());
    let mut compared = 0;
    for (title, all_of) in TITLES {
        for (name, vector) in vectors[title].as_object().unwrap() {
            for of in all_of {
                assert_eq!(of.key(name), key_in(vector), "{title}: {name:?}");
                compared += 1;
            }
        }
    }
    println!("{} kinds of vectors, {compared} comparisons", vectors.len());
}

#[test]
fn every_scheme_has_a_vector() {
    let of = TITLES.iter().flat_map(|(_, all_of)| all_of.iter());
    let of: HashSet<_> = of
        .filter_map(|of| match of {
            Source::Scheme(scheme) => Some(*scheme),
            Source::Known(_) => None,
        })
        .collect();
    for system in scheme::systems() {
        assert!(of.contains(system.scheme), "{} has none", system.scheme);
    }
}
