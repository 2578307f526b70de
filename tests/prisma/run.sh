#!/bin/sh
# Tests usagectl together with the real Prisma Client: builds it, installs Prisma from the npm registry,
# starts a private PostgreSQL, runs test.ts and adopt.ts.
set -eu
cd "$(dirname "$0")/../.."
project=$PWD
. tests/in-memory.sh
# The directory for installed and generated files.
work=${CARGO_TARGET_DIR:-$project/target}/prisma
mkdir -p "$work/schema"

cargo build --locked --no-default-features
export USAGECTL="${CARGO_TARGET_DIR:-$project/target}/debug/usagectl"

cp tests/prisma/*.json tests/prisma/*.ts "$work"
cp tests/suite/schema.prisma "$work/schema"
cd "$work"
# No lock file, which would contain the URL of a registry. Install scripts only fetch
# binaries that are not needed.
npm install --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error

export SETTINGS="timezone = 'Asia/Seoul'"
. "$project/tests/suite/support/start-postgres.sh"
start_postgresql "$project" "$work"
export DATABASE_URL="postgresql://postgres@127.0.0.1:$postgresql_port/postgres"

# The client is generated without the native engine, which would be downloaded; naming any program
# instead prevents that.
PRISMA_SCHEMA_ENGINE_BINARY=$USAGECTL npx prisma generate >/dev/null
# Prisma uses the time zone of the process.
TZ=UTC npx tsx test.ts
export PRISMA_MIGRATIONS="$project/tests/data/adopt/postgres/prisma/migrations"
TZ=UTC npx tsx adopt.ts
TZ=UTC npx tsx sqlite.ts
