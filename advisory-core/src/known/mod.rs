//! The keys of known tools: the locks that migration tools take.
//!
//! Such a lock is the same in every project, or follows from the name of the database, so that a
//! key seen in `pg_locks` can be traced back to its owner:
//!
//! ```
//! use advisory_core::{Key, known};
//!
//! let prisma = known::owner(Key::BigInt(72707369), None).unwrap();
//! assert_eq!(prisma.label, "Prisma Migrate");
//! let sqlx = known::owner(Key::BigInt(2419361963877447518), Some("foo")).unwrap();
//! assert_eq!(sqlx.label, "sqlx migrate");
//! assert!(known::owner(Key::BigInt(42), Some("foo")).is_none());
//! ```
//!
//! It can also be taken, so that the tool waits:
//!
//! ```
//! use advisory_core::{AdvisoryLock, known};
//!
//! let rails = known::all().iter().find(|known| known.label == "Rails migrations").unwrap();
//! let lock = rails.key(Some("shop_production")).map(AdvisoryLock::from);
//! ```
//!
//! Small numbers are left out, such as authentik's 1000 or Marten's 4004: anybody may have chosen
//! them.

mod table;

use crate::key::Key;
use crate::scheme::crc32;

/// A lock that a tool takes in every project that uses it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Known {
    /// The tool.
    pub label: &'static str,
    /// Where its key comes from, in words.
    pub algorithm: &'static str,
    /// The project, version and file that define it.
    pub source: &'static str,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    Fixed(Key),
    Database(fn(&str) -> Key),
}

impl Known {
    /// The key of the lock in this database; `None` if it follows from the database's name, and
    /// there is none.
    ///
    /// ```
    /// use advisory_core::{Key, known};
    ///
    /// let rails = known::all().iter().find(|known| known.label.contains("Rails")).unwrap();
    /// assert!(rails.needs_database() && rails.key(None).is_none());
    /// assert!(matches!(rails.key(Some("app_production")), Some(Key::BigInt(_))));
    /// ```
    pub fn key(&self, database: Option<&str>) -> Option<Key> {
        match self.origin {
            Origin::Fixed(key) => Some(key),
            Origin::Database(derive) => database.map(derive),
        }
    }

    /// True if the key follows from the name of the database.
    pub fn needs_database(&self) -> bool {
        matches!(self.origin, Origin::Database(_))
    }
}

/// All known locks.
pub fn all() -> &'static [Known] {
    table::TABLE
}

/// The tool that takes this key in the database of this name. Without a name, it finds only the
/// keys that are the same in every database.
///
/// ```
/// use advisory_core::{Key, known};
///
/// let flyway = known::flyway("public", "flyway_schema_history");
/// assert_eq!(known::owner(flyway, None).unwrap().label, "Flyway");
/// assert!(known::owner(Key::from("sync(4)"), Some("app")).is_none());
/// ```
pub fn owner(key: Key, database: Option<&str>) -> Option<&'static Known> {
    all().iter().find(|known| known.key(database) == Some(key))
}

/// The lock of golang-migrate 4 on a database, for the schema and the name of its table: by default
/// `public` and `schema_migrations`.
///
/// ```
/// use advisory_core::{Key, known};
///
/// // From the project's own `database/util_test.go`.
/// let key = known::golang_migrate("database_name", "schema_name_1", "schema_name_2");
/// assert_eq!(key, Key::BigInt(3743845847));
/// ```
pub fn golang_migrate(database: &str, schema: &str, table: &str) -> Key {
    salted(&format!("{schema}\0{table}\0{database}"))
}

/// CRC-32 times a salt, modulo 2^32.
fn salted(names: &str) -> Key {
    Key::from(crc32(names.as_bytes()).wrapping_mul(1_486_364_155))
}

/// The lock of Flyway on its schema history: the table in this schema.
///
/// ```
/// use advisory_core::known;
///
/// let key = known::flyway("public", "flyway_schema_history");
/// assert_eq!(known::owner(key, None).unwrap().label, "Flyway");
/// ```
pub fn flyway(schema: &str, table: &str) -> Key {
    let quoted = |identifier: &str| format!("\"{}\"", identifier.replace('"', "\"\""));
    let table = format!("{}.{}", quoted(schema), quoted(table));
    // The magic number is `Flyway` in ASCII.
    Key::BigInt(0x466c_7977_6179 + i64::from(java_hash_code(&table)))
}

/// Java's `String.hashCode`.
fn java_hash_code(text: &str) -> i32 {
    let units = text.encode_utf16().map(i32::from);
    units.fold(0, |hash: i32, unit| {
        hash.wrapping_mul(31).wrapping_add(unit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_leads_to_its_owner() {
        for known in all() {
            let key = known.key(Some("shop")).expect("a database is named");
            let owner = owner(key, Some("shop")).expect("it is known");
            assert_eq!(owner.label, known.label);
            assert_eq!(known.key(None).is_none(), known.needs_database());
        }
    }

    #[test]
    fn no_key_is_one_that_anybody_may_have_chosen() {
        for known in all() {
            let Some(Key::BigInt(key)) = known.key(Some("shop")) else {
                panic!("{} has a pair", known.label);
            };
            assert!(key.unsigned_abs() > 1 << 20, "{}", known.label);
        }
    }

    /// From `database/util_test.go` of golang-migrate.
    #[test]
    fn golang_migrate_publishes_these() {
        assert_eq!(salted("database_name"), Key::BigInt(1_764_327_054));
        let joined = "schema_name_1\0database_name";
        assert_eq!(salted(joined), Key::BigInt(2_453_313_553));
    }

    #[test]
    fn goose_is_hashed() {
        let crc64 = crc::Crc::<u64>::new(&crc::CRC_64_XZ).checksum(b"goose");
        let keys = [crc32(b"goose").into(), crc64].map(|key| Key::BigInt(key.cast_signed()));
        let owners = keys.map(|key| owner(key, None).map(|known| known.label));
        assert_eq!(owners, [Some("goose"), Some("goose, at first")]);
    }

    /// Computed by Java.
    #[test]
    fn java_hashes_the_same() {
        assert_eq!(java_hash_code(""), 0);
        assert_eq!(java_hash_code("hello"), 99_162_322);
        assert_eq!(java_hash_code("polygenelubricants"), i32::MIN);
        assert_eq!(
            flyway("public", "flyway_schema_history"),
            Key::BigInt(77_433_833_903_597)
        );
    }
}
