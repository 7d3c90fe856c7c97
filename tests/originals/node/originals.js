// Lock packages of JavaScript. Requests are lines of JSON: see tests/src/foreign_client/process.rs.
// The packages are in NODE_PATH, the server in libpq's variables.

const fs = require('fs');
const os = require('os');
const path = require('path');
const readline = require('readline');

const { Client, Pool } = require('pg');

const manifest = (name) => path.join(process.env.NODE_PATH, name, 'package.json');
const version = (name) => JSON.parse(fs.readFileSync(manifest(name))).version;

class AdvisoryLock {
  package = 'advisory-lock';

  constructor() {
    const { default: advisoryLock, strToKey } = require('advisory-lock');
    this.mutex = advisoryLock();
    this.strToKey = strToKey;
    this.held = new Map();
  }

  async answer({ do: what, name, names }) {
    if (what === 'keys') {
      return { keys: names.map((name) => this.strToKey(name).join(',')) };
    }
    if (what === 'free') {
      await this.held.get(name)();
      return {};
    }
    const unlock = await this.mutex(name).tryLock();
    if (unlock) {
      this.held.set(name, unlock);
    }
    return { held: unlock !== undefined };
  }
}

// Each migration waits where the test can see it, and let it go on: at the lock (1, 1).
const WAIT = 'SELECT pg_advisory_xact_lock(1, 1)';

class Migrator {
  run = 0;
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'advisory-tests-'));

  async answer() {
    this.run += 1;
    await this.migrate(this.run);
    return {};
  }
}

class Kysely extends Migrator {
  package = 'kysely';

  async migrate(run) {
    const { Kysely, Migrator, PostgresDialect, sql } = require('kysely');
    const migrations = {};
    for (let number = 1; number <= run; number += 1) {
      migrations[`m${number}`] = { up: (db) => sql.raw(WAIT).execute(db) };
    }
    const db = new Kysely({ dialect: new PostgresDialect({ pool: new Pool() }) });
    const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } });
    const { error } = await migrator.migrateToLatest();
    await db.destroy();
    if (error) {
      throw error;
    }
  }
}

class NodePgMigrate extends Migrator {
  package = 'node-pg-migrate';

  async migrate(run) {
    const { runner } = require('node-pg-migrate');
    fs.writeFileSync(path.join(this.folder, `${run}_wait${run}.sql`), WAIT);
    await runner({
      databaseUrl: {},
      dir: this.folder,
      direction: 'up',
      migrationsTable: 'pgmigrations',
      count: Infinity,
      log: () => {},
    });
  }
}

class PostgresMigrations extends Migrator {
  package = 'postgres-migrations';

  async migrate(run) {
    const { migrate } = require('postgres-migrations');
    fs.writeFileSync(path.join(this.folder, `${run}_wait${run}.sql`), WAIT);
    const client = new Client();
    await client.connect();
    try {
      await migrate({ client }, this.folder);
    } finally {
      await client.end();
    }
  }
}

class PgBoss9 extends Migrator {
  package = 'pg-boss';

  plans() {
    return require('pg-boss').getConstructionPlans('pgboss');
  }

  async migrate() {
    const client = new Client();
    await client.connect();
    try {
      await client.query(this.plans().replace(/COMMIT;\s*$/, ''));
      await client.query(WAIT);
      await client.query('ROLLBACK');
    } finally {
      await client.end();
    }
  }
}

class PgBoss10 extends PgBoss9 {
  package = 'pg-boss-10';

  plans() {
    return require('pg-boss-10').getConstructionPlans('pgboss');
  }
}

const originals = { AdvisoryLock, Kysely, NodePgMigrate, PostgresMigrations, PgBoss9, PgBoss10 };

async function main() {
  const write = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
  const original = new originals[process.argv[2]]();
  const name = original.package.replace('-10', '');
  write({ package: `${name} ${version(original.package)}`, runtime: `Node.js ${process.versions.node}` });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    try {
      write(await original.answer(JSON.parse(line)));
    } catch (error) {
      write({ error: String(error) });
    }
  }
}

main();
