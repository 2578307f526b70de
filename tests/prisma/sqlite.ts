// `prisma db push` on a SQLite database with usagectl's tables: it deletes them unless they are listed in
// prisma.config.ts, and then the application's inserts fail until usagectl repairs the database.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { createClient } from "@libsql/client";
import { PrismaLibSql } from "@prisma/adapter-libsql";

import { schemaEngine } from "./engine.ts";

const url = `file:${join(mkdtempSync("sqlite-"), "app.db")}`;
const schema = readFileSync("schema/schema.prisma", "utf8").replace(
  'provider = "postgresql"',
  'provider = "sqlite"',
);
const files = [{ path: "schema.prisma", content: schema }];
const engine = await schemaEngine(files, new PrismaLibSql({ url }));

/** `prisma db push --accept-data-loss`; returns the number of statements. */
async function push(externalTables: string[]): Promise<number> {
  const filters = { externalTables, externalEnums: [] };
  const pushed = await engine.schemaPush({ force: true, schema: { files }, filters });
  return pushed.executedSteps;
}

/** Runs usagectl, which must end in `code`, and returns what it printed. */
function usagectl(args: string[], code = 0): string {
  const run = spawnSync(process.env.USAGECTL!, args, {
    encoding: "utf8",
    env: { ...process.env, DATABASE_URL: url },
  });
  assert.equal(run.status, code, `usagectl ${args.join(" ")}\n${run.stdout}${run.stderr}`);
  return run.stdout + run.stderr;
}

let calls = 0;
/** Writes a call as the application does. */
async function insert(): Promise<void> {
  const client = createClient({ url });
  try {
    await client.execute({
      sql: "INSERT INTO api_usage (id, api_name, timestamp) VALUES (?, 'finnhub', '2026-01-31T11:00:00.000+00:00')",
      args: [`call-${calls + 1}`],
    });
    calls += 1;
  } finally {
    client.close();
  }
}

const steps: [string, () => Promise<void>][] = [
  [
    "the list that migrate prints keeps db push from deleting tables",
    async () => {
      const printed = usagectl(["migrate"]);
      const external = [...printed.matchAll(/"(\w+)",/g)].map((match) => match[1]);
      assert.ok(external.includes("usagectl_dirty_hours"), printed);
      assert.equal(await push(external), 0);
      await insert();
      usagectl(["status"]);
    },
  ],
  [
    "without the list the tables are deleted and inserts fail, which status reports",
    async () => {
      assert.notEqual(await push([]), 0);
      await assert.rejects(insert, /no such table: main.usagectl_/);
      assert.match(usagectl(["status"], 4), /every write to api_usage fails/);
    },
  ],
  [
    "migrate --adopt repairs the database, and aggregate catches up",
    async () => {
      usagectl(["migrate", "--adopt", "--yes"]);
      await insert();
      usagectl(["status"]);
      usagectl(["aggregate"]);
      const now = ["--now", "2026-01-31T12:00:00Z"];
      const shown = JSON.parse(usagectl([...now, "stats", "--last", "24h", "--format", "json"]));
      assert.equal(shown.lines[0].total_requests, calls);
    },
  ],
];

for (const [name, check] of steps) {
  await check();
  console.log(`prisma: ${name} ... ok`);
}
process.exit(0);
