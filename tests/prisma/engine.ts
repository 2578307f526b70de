// Prisma's schema engine, which does the work of `prisma migrate` and `prisma db push`. It is the WebAssembly build,
// since the native one is not in the npm registry.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

import { PrismaPg } from "@prisma/adapter-pg";
import { bindMigrationAwareSqlAdapterFactory } from "@prisma/driver-adapter-utils";
import pg from "pg";

// The engine asks for pg_catalog's "char" columns, which the adapter does not support: pass them as text.
class Pool extends pg.Pool {
  async query(...args: any[]): Promise<any> {
    const result = await (super.query as any)(...args);
    for (const field of result.fields ?? []) {
      if (field.dataTypeID === 18) field.dataTypeID = 25;
    }
    return result;
  }
}

// The engine's module has global state: it can be loaded once.
const glue: Promise<any> = (async () => {
  const name = "@prisma/schema-engine-wasm/schema_engine_bg";
  const glue: any = await import(name);
  const wasm = createRequire(import.meta.url).resolve(name).replace(/\.js$/, ".wasm");
  const { instance } = await WebAssembly.instantiate(readFileSync(wasm), {
    "./schema_engine_bg.js": glue,
  });
  glue.__wbg_set_wasm(instance.exports);
  (instance.exports as any).__wbindgen_start();
  return glue;
})();

/** The engine on a connection of a driver adapter. */
export async function schemaEngine(files: { path: string; content: string }[], adapter: any): Promise<any> {
  const datamodels = files.map((file) => [file.path, file.content]);
  const bound = bindMigrationAwareSqlAdapterFactory(adapter);
  return (await glue).SchemaEngine.new({ datamodels }, () => {}, bound);
}

const filters = { externalTables: [], externalEnums: [] };

/** The schema engine on one PostgreSQL database. Each call is a run of its own, as of the command line. */
export class SchemaEngine {
  private files: { path: string; content: string }[];

  constructor(private url: string) {
    this.files = [{ path: "schema.prisma", content: readFileSync("schema/schema.prisma", "utf8") }];
  }

  /** The differences between the database and schema.prisma, as `prisma migrate diff` prints them. */
  async drift(): Promise<string> {
    const files = this.files;
    const result = await this.run((engine) =>
      engine.diff({
        from: { tag: "schemaDatasource", files, configDir: "." },
        to: { tag: "schemaDatamodel", files },
        script: false,
        exitCode: true,
        filters,
        shadowDatabaseUrl: null,
      }),
    );
    return result.exitCode === 0 ? "" : result.stdout;
  }

  /** `prisma migrate deploy` with the migrations of a folder: the names of those applied. */
  async deploy(folder: string): Promise<string[]> {
    const migrationsList = migrations(folder);
    const result = await this.run((engine) => engine.applyMigrations({ migrationsList, filters }));
    return result.appliedMigrationNames;
  }

  /** `prisma migrate status`: failed and edited migrations, and the difference of the history. */
  status(folder: string): Promise<any> {
    const migrationsList = migrations(folder);
    return this.run((engine) =>
      engine.diagnoseMigrationHistory({ migrationsList, optInToShadowDatabase: false, filters }),
    );
  }

  /** `prisma db push`. */
  push(): Promise<any> {
    return this.run((engine) => engine.schemaPush({ force: false, schema: { files: this.files }, filters }));
  }

  private async run(command: (engine: any) => Promise<any>): Promise<any> {
    const pool: any = new Pool({ connectionString: this.url });
    try {
      return await command(await schemaEngine(this.files, new PrismaPg(pool)));
    } finally {
      // Releases the advisory lock of `prisma migrate`.
      await pool.end();
    }
  }
}

/** The migrations of a folder as the engine takes them. */
function migrations(folder: string): any {
  const lockfile = join(folder, "migration_lock.toml");
  const names = readdirSync(folder).filter((name) => existsSync(join(folder, name, "migration.sql")));
  return {
    baseDir: resolve(folder),
    lockfile: { path: "migration_lock.toml", content: existsSync(lockfile) ? readFileSync(lockfile, "utf8") : null },
    shadowDbInitScript: "",
    migrationDirectories: names.sort().map((name) => ({
      path: name,
      migrationFile: {
        path: "migration.sql",
        content: { tag: "ok", value: readFileSync(join(folder, name, "migration.sql"), "utf8") },
      },
    })),
  };
}
