// Prisma's own comparison of the database with schema.prisma: what `prisma migrate diff
// --from-config-datasource --to-schema schema/schema.prisma --exit-code` does, with the engine that does
// it. The engine is the WebAssembly build, since the native one is not in the npm registry.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

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

/** The differences between a database and schema.prisma, in Prisma's words; none is the empty text. */
export class Drift {
  // The engine's module has global state: it can be loaded once.
  private engine: Promise<any>;
  private files = [{ path: "schema.prisma", content: readFileSync("schema/schema.prisma", "utf8") }];

  constructor(url: string) {
    this.engine = this.load(url);
  }

  async find(): Promise<string> {
    const result = await (await this.engine).diff({
      from: { tag: "schemaDatasource", files: this.files, configDir: "." },
      to: { tag: "schemaDatamodel", files: this.files },
      script: false,
      exitCode: true,
      filters: { externalTables: [], externalEnums: [] },
      shadowDatabaseUrl: null,
    });
    return result.exitCode === 0 ? "" : result.stdout;
  }

  private async load(url: string): Promise<any> {
    const name = "@prisma/schema-engine-wasm/schema_engine_bg";
    const glue: any = await import(name);
    const wasm = createRequire(import.meta.url).resolve(name).replace(/\.js$/, ".wasm");
    const { instance } = await WebAssembly.instantiate(readFileSync(wasm), {
      "./schema_engine_bg.js": glue,
    });
    glue.__wbg_set_wasm(instance.exports);
    (instance.exports as any).__wbindgen_start();
    const pool: any = new Pool({ connectionString: url });
    const adapter = bindMigrationAwareSqlAdapterFactory(new PrismaPg(pool));
    const models = this.files.map((file) => [file.path, file.content]);
    return glue.SchemaEngine.new({ datamodels: models }, () => {}, adapter);
  }
}
