//! Some keys of each system, computed with the system itself if it could be run, or published in
//! its tests or documentation.

use std::collections::HashSet;

use advisory_core::{Key, KeyScheme as _, known, scheme};
use serde_json::Value;

const VECTORS: &str = include_str!("vectors.json");

/// The titles of the vectors, each with everything that has these keys: schemes, and in backquotes
/// the labels of known locks, whose database has the name of the vector.
const TITLES: &str = r#"
    crc32 unsigned -> int8 (zlib.crc32; Symfony Lock) ||| Crc32, SymfonyLock
    crc32 as signed int4 -> int8 (django-pglocks 1.x) ||| DjangoPglocks
    heroku pg_lock (int4,int4) ||| HerokuPgLock
    with_advisory_lock 7.5 (int4,int4), no prefix ||| WithAdvisoryLock
    django-pglock (sha256[0:8] LE) ||| Sha256, DjangoPglock
    django-pgware 1.0 / django-pglocks 2.x (sha256[0:8] BE) ||| DjangoPgware
    advisory-lock npm / withlock (int4,int4) ||| NpmAdvisoryLock, PhpLock2
    sqlalchemy-dlock (blake2b-64, native=LE) ||| SqlalchemyDlock
    postgresql-lock py (sha1[0:8] BE) ||| PostgresqlLock
    PALs / sha1[0:8] LE (app_name=None) ||| Sha1, Pals
    sqlx PgAdvisoryLock::new (HKDF-SHA256 LE) ||| SqlxAdvisoryLock
    DistributedLock .NET (allowHashing) ||| DistributedLock
    distributed-lock-rs 0.2 ||| DistributedLockRs
    md5[0:8] BE ||| Md5
    good_job (md5[0:8] BE of "good_jobs-"+n) ||| GoodJob
    php-lock >=3 (md5("php-malkusch-lock:"+n), int4 LE pair) ||| PhpLock
    River unique (deprecated), FNV-1 64 ||| River
    Atlas schema lock, FNV-1 32 -> int8 ||| Atlas
    sqlx migrate (n=database) ||| `sqlx migrate`
    Rails migrations (n=database) ||| `Rails migrations`
    golang-migrate (n=database only) ||| `golang-migrate 3`
    golang-migrate pg (public\0schema_migrations\0n) ||| `golang-migrate`
    PG15 hashtext(text)::int8 ||| Hashtext, LaravelAdvisoryLock
    PG15 hashtextextended(text,0) ||| HashtextExtended
    autumn-web 0.9 (sha256('autumn:lock:v1\0'+n)[0:8] BE) ||| AutumnWeb
    FNV-1a 64 -> int8 (malkuth) ||| Malkuth
"#;

/// The rows of [`TITLES`]: a title, and everything that has its keys.
fn titles() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    let rows = TITLES.trim().lines();
    rows.map(|row| {
        let (title, sources) = row.split_once(" ||| ").expect("a row has two columns");
        (title.trim(), sources.split(", ").collect())
    })
}

fn key_of(source: &str, name: &str) -> Option<Key> {
    if let Some(label) = source.strip_prefix('`') {
        let label = label.trim_end_matches('`');
        let mut known = known::all().iter();
        return known.find(|known| known.label == label)?.key(Some(name));
    }
    if source == "DjangoPglock" {
        // The hash alone, because the vectors include the empty name, which django-pglock refuses.
        return Some(scheme::DjangoPglock.key(name));
    }
    let mut systems = scheme::systems();
    systems.find(|system| system.scheme == source)?.key(name)
}

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
    let known_titles: HashSet<_> = titles().map(|(title, _)| title).collect();
    assert_eq!(known_titles, vectors.keys().map(String::as_str).collect());
    let mut compared = 0;
    for (title, sources) in titles() {
        for (name, vector) in vectors[title].as_object().unwrap() {
            for source in &sources {
                let key = key_of(source, name);
                assert_eq!(key, key_in(vector), "{title}: {source}: {name:?}");
                compared += 1;
            }
        }
    }
    println!("{} kinds of vectors, {compared} comparisons", vectors.len());
}

#[test]
fn every_scheme_has_a_vector() {
    let sources: HashSet<_> = titles().flat_map(|(_, sources)| sources).collect();
    for system in scheme::systems() {
        let scheme = system.scheme;
        assert!(sources.contains(scheme), "{scheme} has none");
    }
}
