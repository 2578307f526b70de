// The application together with usagectl: rows that the real Prisma Client writes into a database that
// `usagectl migrate` created are aggregated and shown, and the client reads what usagectl writes.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";

import { PrismaPg } from "@prisma/adapter-pg";

import { SchemaEngine } from "./engine.ts";
import { PrismaClient } from "./generated/pg/client.ts";

const url = process.env.DATABASE_URL!;
const engine = new SchemaEngine(url);
const db = new PrismaClient({ adapter: new PrismaPg({ connectionString: url }) });

/** Runs usagectl, which must end in `code`, and returns what it answers. */
function usagectl(args: string[], code = 0): string {
  const run = spawnSync(process.env.USAGECTL!, args, { encoding: "utf8" });
  assert.equal(run.status, code, `usagectl ${args.join(" ")}\n${run.stderr}`);
  return run.stdout;
}

const steps: [string, () => Promise<void>][] = [
  [
    "the database that migrate makes is the one of schema.prisma",
    async () => {
      usagectl(["migrate"]);
      assert.equal(await engine.drift(), "");
      await db.$executeRawUnsafe("CREATE TABLE public.extra (id integer)");
      assert.match(await engine.drift(), /Removed tables[\s\S]*extra/, "a real difference is seen");
      await db.$executeRawUnsafe("DROP TABLE public.extra");
    },
  ],
  [
    "the application writes two calls, an aggregate and an alert",
    async () => {
      await db.apiUsage.create({
        data: {
          apiName: "finnhub",
          endpoint: "/quote",
          method: "GET",
          success: true,
          statusCode: 200,
          responseTime: 245, // milliseconds
          cached: false,
        },
      });
      await db.apiUsage.create({
        data: {
          apiName: "finnhub",
          endpoint: "/quote",
          method: "GET",
          success: false,
          statusCode: 429,
          errorType: "RATE_LIMIT",
          errorMessage: "Rate limit exceeded: 60 requests per minute",
          responseTime: 120,
        },
      });
      const startOfDay = new Date();
      startOfDay.setHours(0, 0, 0, 0);
      const endOfDay = new Date(startOfDay);
      endOfDay.setDate(endOfDay.getDate() + 1);
      await db.apiUsageAggregate.create({
        data: {
          apiName: "finnhub",
          aggregationType: "DAILY",
          periodStart: startOfDay,
          periodEnd: endOfDay,
          totalRequests: 1500,
          successCount: 1450,
          errorCount: 50,
          cachedCount: 200,
          avgResponseTime: 180.5,
          maxResponseTime: 890,
          minResponseTime: 45,
          rateLimitErrors: 10,
          timeoutErrors: 5,
          serverErrors: 35,
          totalCost: 0.15,
        },
      });
      await db.apiAlert.create({
        data: {
          apiName: "finnhub",
          alertType: "RATE_LIMIT_WARNING",
          threshold: 80, // Alert at 80% of limit
          period: "MINUTE",
          enabled: true,
        },
      });
    },
  ],
  [
    "aggregate counts the two calls, leaves the invented day until it is told to put it right, and then keeps its id",
    async () => {
      const daily = { apiName: "finnhub", aggregationType: "DAILY" };
      const before = await db.apiUsageAggregate.findFirstOrThrow({ where: daily });
      // 1,500 requests of which two rows remain.
      usagectl(["aggregate"], 4);
      assert.deepEqual(await db.apiUsageAggregate.findFirstOrThrow({ where: daily }), before);
      const [from, to] = [before.periodStart.toISOString(), before.periodEnd.toISOString()];
      usagectl(["aggregate", "--rebuild", "--from", from, "--to", to]);
      const after = await db.apiUsageAggregate.findUniqueOrThrow({
        where: {
          apiName_aggregationType_periodStart: { ...daily, periodStart: before.periodStart },
        },
      });
      assert.equal(after.id, before.id);
      assert.deepEqual(
        { ...after, id: null, createdAt: null, updatedAt: null },
        {
          ...before,
          id: null,
          createdAt: null,
          updatedAt: null,
          totalRequests: 2,
          successCount: 1,
          errorCount: 1,
          cachedCount: 0,
          avgResponseTime: 182.5,
          maxResponseTime: 245,
          minResponseTime: 120,
          rateLimitErrors: 1,
          timeoutErrors: 0,
          serverErrors: 0,
          totalCost: 0,
        },
      );
      const types = await db.apiUsageAggregate.findMany({ select: { aggregationType: true } });
      assert.deepEqual(types.map((row) => row.aggregationType).sort(), ["DAILY", "HOURLY", "MONTHLY"]);
    },
  ],
  [
    "stats shows them",
    async () => {
      const shown = JSON.parse(usagectl(["stats", "--last", "1h", "--format", "json"]));
      assert.equal(shown.schema, 1);
      const [line] = shown.lines;
      assert.equal(shown.lines.length, 1);
      assert.deepEqual(
        [line.api_name, line.total_requests, line.success_count, line.rate_limit_errors, line.avg_response_time],
        ["finnhub", 2, 1, 1, 182.5],
      );
    },
  ],
  [
    "the client reads what record wrote",
    async () => {
      usagectl(["record", "--api", "tmdb", "--timestamp", "2026-01-31T12:00:00.123Z"]);
      const call = await db.apiUsage.findFirstOrThrow({ where: { apiName: "tmdb" } });
      assert.equal(call.timestamp.toISOString(), "2026-01-31T12:00:00.123Z");
      assert.deepEqual([call.method, call.success, call.cached], ["GET", true, false]);
      const found = await db.apiUsage.count({
        where: { timestamp: { gte: new Date("2026-01-31"), lt: new Date("2026-02-01") } },
      });
      assert.equal(found, 1);
    },
  ],
  [
    "the infrastructure tables hold what the application keeps in them",
    async () => {
      await db.infrastructureMetric.create({
        data: { service: "VERCEL_KV", metric: "STORAGE_MB", value: 24.3, metadata: { plan: "free" } },
      });
      const limit = {
        service: "VERCEL_KV",
        metric: "STORAGE_MB",
        currentPlan: "free",
        limitValue: 30,
      } as const;
      for (const limitValue of [30, 31]) {
        await db.infrastructureLimit.upsert({
          where: {
            service_metric_currentPlan: { service: "VERCEL_KV", metric: "STORAGE_MB", currentPlan: "free" },
          },
          create: limit,
          update: { limitValue },
        });
      }
      const stored = await db.infrastructureLimit.findMany();
      assert.deepEqual(
        stored.map((row) => [row.limitValue, row.warningPercent, row.criticalPercent]),
        [[31, 75, 90]],
      );
      await db.upgradeRecommendation.create({
        data: {
          service: "VERCEL_KV",
          currentPlan: "free",
          recommendedPlan: "pro",
          priority: "HIGH",
          reason: "81 % of the storage is used",
          benefits: ["more storage"],
          risks: ["costs"],
        },
      });
      const recommendation = await db.upgradeRecommendation.findFirstOrThrow();
      assert.equal(recommendation.status, "PENDING");
      assert.deepEqual(recommendation.benefits, ["more storage"]);
    },
  ],
  [
    "after all that the database is still the one of schema.prisma",
    async () => {
      assert.equal(await engine.drift(), "");
      usagectl(["status"]);
    },
  ],
];

for (const [name, check] of steps) {
  await check();
  console.log(`prisma: ${name} ... ok`);
}
process.exit(0);
