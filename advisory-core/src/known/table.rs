//! The table: one entry for each tool.

use md5::{Digest as _, Md5};
use sha2::Sha224;

use super::{Known, Origin, golang_migrate, salted};
use crate::key::Key;
use crate::scheme::{big_endian, crc32, sqlx_migrate};

pub(super) static TABLE: &[Known] = &[
    Known {
        label: "sqlx migrate",
        algorithm: "0x3d32ad9e times CRC-32 of the database's name",
        source: "transact-rs/sqlx 0.9.0, `sqlx-postgres/src/migrate.rs`",
        origin: Origin::Database(sqlx_migrate),
    },
    Known {
        label: "Rails migrations",
        algorithm: "2053462845 times CRC-32 of the database's name",
        source: "rails/rails 5.2 and later, `activerecord/lib/active_record/migration.rb`",
        origin: Origin::Database(|database| Key::BigInt(2_053_462_845 * crc(database))),
    },
    Known {
        label: "golang-migrate",
        algorithm: "1486364155 times CRC-32 of `public`, `schema_migrations` and the database's name with zero bytes between, \
            modulo 2^32; see `known::golang_migrate` for others",
        source: "golang-migrate/migrate 4, `database/util.go` and `database/postgres/postgres.go`",
        origin: Origin::Database(|database| {
            golang_migrate(database, "public", "schema_migrations")
        }),
    },
    Known {
        label: "golang-migrate 3",
        algorithm: "1486364155 times CRC-32 of the database's name, modulo 2^32",
        source: "golang-migrate/migrate 3, `database/util.go`",
        origin: Origin::Database(salted),
    },
    Known {
        label: "pg-boss",
        algorithm: "SHA-224 of the database's name and `.pgboss.pgboss`, the first 8 bytes, big-endian; the last word is its schema",
        source: "timgit/pg-boss 10 and later, `src/plans.ts`",
        origin: Origin::Database(|database| {
            big_endian(&Sha224::digest(format!("{database}.pgboss.pgboss")))
        }),
    },
    Known {
        label: "pg-boss 9",
        algorithm: "MD5 of the database's name and `.pgboss.pgboss`, the first 8 bytes, big-endian; the last word is its schema",
        source: "timgit/pg-boss 9, `src/plans.js`",
        origin: Origin::Database(|database| {
            big_endian(&Md5::digest(format!("{database}.pgboss.pgboss")))
        }),
    },
    Known {
        label: "Prisma Migrate",
        algorithm: "72707369",
        source: "prisma/prisma-engines, `schema-engine/connectors/sql-schema-connector/src/flavour/postgres.rs`",
        origin: Origin::Fixed(Key::BigInt(72_707_369)),
    },
    Known {
        label: "Kysely migrations",
        algorithm: "3853314791062309107",
        source: "kysely-org/kysely, `src/dialect/postgres/postgres-adapter.ts`",
        origin: Origin::Fixed(Key::BigInt(3_853_314_791_062_309_107)),
    },
    Known {
        label: "node-pg-migrate",
        algorithm: "7241865325823964",
        source: "salsita/node-pg-migrate, `src/runner.ts`",
        origin: Origin::Fixed(Key::BigInt(7_241_865_325_823_964)),
    },
    Known {
        label: "postgres-migrations",
        algorithm: "-8525285245963000605",
        source: "ThomWright/postgres-migrations, `src/with-lock.ts`",
        origin: Origin::Fixed(Key::BigInt(-8_525_285_245_963_000_605)),
    },
    Known {
        label: "goose",
        algorithm: "4097083626, which is CRC-32 of `goose`",
        source: "pressly/goose 3, `lock/session_locker_options.go`",
        origin: Origin::Fixed(Key::BigInt(4_097_083_626)),
    },
    Known {
        label: "goose, at first",
        algorithm: "5887940537704921958, which is CRC-64 of `goose`",
        source: "pressly/goose 3, first versions of `lock/session_locker_options.go`",
        origin: Origin::Fixed(Key::BigInt(5_887_940_537_704_921_958)),
    },
    Known {
        label: "tern",
        algorithm: "9628173550095224",
        source: "jackc/tern, `migrate/migrate.go`",
        origin: Origin::Fixed(Key::BigInt(9_628_173_550_095_224)),
    },
    Known {
        label: "Flyway",
        algorithm: "77431708279161 plus Java's hash code of `\"public\".\"flyway_schema_history\"`; see `known::flyway` for others",
        source: "flyway/flyway, `PostgreSQLAdvisoryLockTemplate.java` and `PostgreSQLConnection.java`",
        origin: Origin::Fixed(Key::BigInt(77_433_833_903_597)),
    },
    Known {
        label: "sqlx test databases",
        algorithm: "8318549251334697844, which is `sqlxtest` in ASCII",
        source: "transact-rs/sqlx 0.9.0, `sqlx-postgres/src/testing/mod.rs`",
        origin: Origin::Fixed(Key::BigInt(8_318_549_251_334_697_844)),
    },
];

fn crc(text: &str) -> i64 {
    crc32(text.as_bytes()).into()
}
