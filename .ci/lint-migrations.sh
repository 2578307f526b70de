#!/bin/sh
# Checks the PostgreSQL migrations with squawk, step by step: a step is one transaction, except for one that builds
# or drops an index CONCURRENTLY. The exceptions to its rules are in .squawk.toml, with their reasons.
#   sh .ci/lint-migrations.sh SQUAWK
set -eu
cd "$(dirname "$0")/.."
squawk=$1
steps=$(mktemp -d)
trap 'rm -rf "$steps"' EXIT
mkdir "$steps/up" "$steps/down"

for script in migrations/postgres/*/*.sql; do
    direction=$(basename "$script" .sql)
    migration=$(basename "$(dirname "$script")")
    awk -v out="$steps/$direction/$migration" '
        BEGIN { number = 0 }
        /^-- step:/ { number += 1 }
        { print > (out "-" number ".sql") }
    ' "$script"
done

# check DIRECTORY CONFIG: its steps in a transaction, then those outside.
check() {
    # shellcheck disable=SC2046
    "$squawk" --config "$2" --assume-in-transaction $(grep -L CONCURRENTLY "$1"/*.sql)
    # shellcheck disable=SC2046
    "$squawk" --config "$2" --no-assume-in-transaction $(grep -l CONCURRENTLY "$1"/*.sql)
}

check "$steps/up" .squawk.toml
# `rollback` shows the loss with each table and column, and requires consent.
sed 's/^]/    "ban-drop-table",\n    "ban-drop-column",\n]/' .squawk.toml >"$steps/down.toml"
check "$steps/down" "$steps/down.toml"
