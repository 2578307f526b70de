// Databases that Prisma created, adopted by `usagectl migrate --adopt`: used by the real client, migrated by both
// programs, rolled back and migrated again.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { PrismaPg } from "@prisma/adapter-pg";
import pg from "pg";

import { SchemaEngine } from "./engine.ts";
import { PrismaClient } from "./generated/pg/client.ts";

const [INIT, ENHANCE, INFRASTRUCTURE] = [
  "20260101000000_init",
  "20260123210146_enhance_api_monitoring",
  "20260125081512_add_infrastructure_monitoring",
];
const ALL = [INIT, ENHANCE, INFRASTRUCTURE];
const NEXT = "20260401000000_add_region";
const NEXT_SQL = `ALTER TABLE "api_usage" ADD COLUMN "region" TEXT;
ALTER TYPE "InfrastructureService" ADD VALUE 'VERCEL_CRON';
`;

const server = new URL(process.env.DATABASE_URL!);
const source = process.env.PRISMA_MIGRATIONS!;

/** An application: its database, its folder and its client. */
class Application {
  readonly url: string;
  readonly folder: string;
  readonly migrations: string;
  readonly engine: SchemaEngine;
  readonly client: PrismaClient;

  private constructor(name: string) {
    const url = new URL(server);
    url.pathname = name;
    this.url = url.href;
    this.folder = join(process.cwd(), "applications", name);
    this.migrations = join(this.folder, "prisma/migrations");
    this.engine = new SchemaEngine(this.url);
    this.client = new PrismaClient({ adapter: new PrismaPg({ connectionString: this.url }) });
  }

  static async create(name: string): Promise<Application> {
    const connection = new pg.Client({ connectionString: server.href });
    await connection.connect();
    await connection.query(`DROP DATABASE IF EXISTS ${name}`);
    await connection.query(`CREATE DATABASE ${name}`);
    await connection.end();
    const application = new Application(name);
    rmSync(application.folder, { recursive: true, force: true });
    mkdirSync(application.migrations, { recursive: true });
    return application;
  }

  /** Adds migrations to its folder. */
  add(...names: string[]): void {
    for (const name of names) {
      cpSync(join(source, name), join(this.migrations, name), { recursive: true });
    }
    cpSync(join(source, "migration_lock.toml"), join(this.migrations, "migration_lock.toml"));
  }

  write(name: string, sql: string): void {
    mkdirSync(join(this.migrations, name), { recursive: true });
    writeFileSync(join(this.migrations, name, "migration.sql"), sql);
  }

  deploy(): Promise<string[]> {
    return this.engine.deploy(this.migrations);
  }

  /** Runs usagectl, which must end in `code`, and returns what it prints. */
  usagectl(args: string[], code = 0): string {
    const env = { ...process.env, DATABASE_URL: this.url };
    const run = spawnSync(process.env.USAGECTL!, args, { encoding: "utf8", cwd: this.folder, env });
    assert.equal(run.status, code, `usagectl ${args.join(" ")}\n${run.stdout}${run.stderr}`);
    return run.stdout + run.stderr;
  }

  /** Both ledgers are complete and the tables are those of schema.prisma. */
  async assertInSync(): Promise<void> {
    this.usagectl(["status"]);
    assert.deepEqual(await this.deploy(), [], "prisma migrate deploy has nothing to do");
    const { failedMigrationNames, editedMigrationNames, history } = await this.engine.status(this.migrations);
    assert.deepEqual([failedMigrationNames, editedMigrationNames, history], [[], [], null]);
  }

  async use(): Promise<void> {
    const before = await this.client.apiUsage.count();
    await this.client.apiUsage.create({ data: { apiName: "finnhub", responseTime: 120, statusCode: 200 } });
    this.usagectl(["record", "--api", "tmdb", "--status", "200"]);
    assert.equal(await this.client.apiUsage.count(), before + 2);
    this.usagectl(["aggregate"]);
    const days = await this.client.apiUsageAggregate.findMany({ where: { aggregationType: "DAILY" } });
    assert.equal(days.reduce((sum, day) => sum + day.totalRequests, 0), before + 2);
  }
}

const steps: [string, () => Promise<void>][] = [
  ...[1, 2, 3].map((stage): [string, () => Promise<void>] => [
    `a database after ${stage} of ${ALL.length} migrations is adopted`,
    async () => {
      const app = await Application.create(`stage_${stage}`);
      app.add(...ALL.slice(0, stage));
      assert.deepEqual(await app.deploy(), ALL.slice(0, stage));
      await app.client.$executeRawUnsafe("INSERT INTO api_usage (id, api_name) VALUES ('first', 'rawg')");
      assert.match(app.usagectl(["status"], 4), new RegExp(`created by prisma migrate \\(${stage} applied`));
      // The application's next version brings the other migrations.
      app.add(...ALL);
      app.usagectl(["migrate", "--adopt", "--yes"]);
      await app.assertInSync();
      assert.equal(await app.engine.drift(), "");
      await app.use();
    },
  ]),
  [
    "the application's next migration is no drift",
    async () => {
      const app = await Application.create("next_migration");
      app.add(...ALL);
      await app.deploy();
      app.usagectl(["migrate", "--adopt", "--yes"]);
      app.write(NEXT, NEXT_SQL);
      assert.deepEqual(await app.deploy(), [NEXT]);
      await app.assertInSync();
      await app.use();
    },
  ],
  [
    "a rollback that keeps Prisma's history lets either program apply the migration again",
    async () => {
      const app = await Application.create("rolled_back");
      app.add(...ALL);
      await app.deploy();
      app.usagectl(["migrate", "--adopt", "--yes"]);
      const rollback = ["rollback", "--to", "enhance_api_monitoring", "--yes", "--accept-data-loss"];
      app.usagectl([...rollback, "--prisma-history"]);
      const { history } = await app.engine.status(app.migrations);
      assert.deepEqual(history, { diagnostic: "databaseIsBehind", unappliedMigrationNames: [INFRASTRUCTURE] });
      app.usagectl(["migrate"]);
      await app.assertInSync();

      app.usagectl([...rollback, "--prisma-history"]);
      assert.deepEqual(await app.deploy(), [INFRASTRUCTURE]);
      app.usagectl(["migrate", "--adopt", "--yes"]);
      await app.assertInSync();
      assert.equal(await app.engine.drift(), "");
      await app.use();

      assert.match(app.usagectl(rollback), new RegExp(`Prisma's ledger keeps ${INFRASTRUCTURE} as applied`));
      app.usagectl(["migrate"]);
      await app.assertInSync();
    },
  ],
  [
    "a failed migration of Prisma is resolved",
    async () => {
      const app = await Application.create("failed");
      app.add(INIT);
      await app.deploy();
      app.write(ENHANCE, 'ALTER TABLE "api_usage" ADD COLUMN "method" NO_SUCH_TYPE;');
      await assert.rejects(app.deploy());
      assert.match(app.usagectl(["status"], 4), new RegExp(`failed: ${ENHANCE}`));
      app.add(...ALL);
      app.usagectl(["migrate", "--adopt", "--yes"]);
      await app.assertInSync();
      await app.use();
    },
  ],
  [
    "a database of prisma db push is adopted",
    async () => {
      const app = await Application.create("pushed");
      await app.engine.push();
      assert.match(app.usagectl(["status"], 4), /created by prisma db push/);
      app.usagectl(["migrate", "--adopt", "--yes"]);
      app.usagectl(["status"]);
      assert.equal(await app.engine.drift(), "");
      await app.use();
    },
  ],
];

for (const [name, check] of steps) {
  await check();
  console.log(`prisma: ${name} ... ok`);
}
process.exit(0);
