#!/bin/sh
# Checks the PostgreSQL migrations with squawk and diesel-guard, step by step: a step is one transaction, except for one
# that builds or drops an index CONCURRENTLY. The exceptions to their rules are in .squawk.toml and diesel-guard.toml,
# with their reasons.
#   sh .ci/lint-migrations.sh SQUAWK DIESEL_GUARD
set -eu
cd "$(dirname "$0")/.."
squawk=$1
guard=$(realpath "$(command -v "$2")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Each step as a migration of its own: steps/VERSION_NAME-NUMBER/up.sql or down.sql.
for script in migrations/postgres/*/*.sql; do
    awk -v steps="$work/steps/$(basename "$(dirname "$script")")" -v name="$(basename "$script")" '
        function begin() {
            directory = steps "-" number
            system("mkdir -p \"" directory "\"")
        }
        BEGIN { number = 0; begin() }
        /^-- step:/ { number += 1; begin() }
        { print > (directory "/" name) }
    ' "$script"
done

# check NAME CONFIG: the steps in a transaction, then those outside.
check() {
    # shellcheck disable=SC2046
    "$squawk" --config "$2" --assume-in-transaction $(grep -L CONCURRENTLY "$work"/steps/*/"$1")
    # shellcheck disable=SC2046
    "$squawk" --config "$2" --no-assume-in-transaction $(grep -l CONCURRENTLY "$work"/steps/*/"$1")
}

check up.sql .squawk.toml
# `rollback` shows the loss with each table and column, and requires consent.
sed 's/^]/    "ban-drop-table",\n    "ban-drop-column",\n]/' .squawk.toml >"$work/down.toml"
check down.sql "$work/down.toml"

grep -l CONCURRENTLY "$work"/steps/*/*.sql | while read -r script; do
    echo 'run_in_transaction = false' >"$(dirname "$script")/metadata.toml"
done
cp .ci/diesel-guard.toml "$work"
cd "$work"
"$guard" check steps
