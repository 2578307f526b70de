#!/bin/sh
# Installs what the tests need, runs all of them, and says how many ran on each engine.
#
# The tests start servers of their own, privately, and stop them again: PostgreSQL, Redis, Prometheus's
# Alertmanager and node exporter, PgBouncer. Only their programs must be there. Prometheus's promtool checks metrics.
# TEST_DATABASE_URL may name an administrator's URL of a running PostgreSQL server instead.
set -eu
cd "$(dirname "$0")/.."
. tests/in-memory.sh

have_postgresql() {
    [ -n "${TEST_DATABASE_URL:-}" ] || sh tests/suite/support/postgres.sh find >/dev/null 2>&1
}

# Debian's names of the programs, or their authors'.
have_any() {
    for program in "$@"; do
        command -v "$program" >/dev/null && return
    done
    return 1
}

missing=
have_any pgbouncer /usr/sbin/pgbouncer || missing="$missing pgbouncer"
have_postgresql || missing="$missing postgresql"
have_any sqlite3 || missing="$missing sqlite3"
have_any redis-server || missing="$missing redis-server"
have_any prometheus-alertmanager alertmanager || missing="$missing prometheus-alertmanager"
have_any python3 || missing="$missing python3"
have_any promtool || missing="$missing prometheus"
have_any prometheus-node-exporter node_exporter || missing="$missing prometheus-node-exporter"

install_missing() {
    if ! command -v apt-get >/dev/null; then
        echo "error: install these, then run this again (names as Debian has them):$missing" >&2
        exit 1
    fi
    echo "Not here yet: apt-get install$missing"
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        as_root=sudo
    else
        echo "error: only root may do that; run it as root, then run this again" >&2
        exit 1
    fi
    $as_root apt-get update --quiet
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing
}

if ! command -v cargo >/dev/null; then
    echo "error: install Rust (cargo), then run this again" >&2
    exit 1
fi
[ -z "$missing" ] || install_missing

# Tests wait for servers and locks: one more than the processors takes a quarter less time.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(getconf _NPROCESSORS_ONLN) + 1))}
export RUST_TEST_THREADS

# Without TLS, whose OpenSSL takes longer to build than everything else; no test needs it.
output=$(mktemp)
trap 'rm -f "$output"' EXIT
{
    cargo test --locked --no-default-features --no-fail-fast "$@" 2>&1 && echo "cargo test: passed"
} | tee "$output"

# A test's name says its engine, in the one program that opens databases.
awk '
    /Running|Doc-tests/ { suite = /tests\/suite/ }
    /^test .* ok$/ {
        if (suite && /Sqlite/) sqlite++
        else if (suite && /Postgresql/) postgresql++
        else neither++
    }
    /^test .* FAILED$/ { failed++ }
    /^cargo test: passed$/ { passed = 1 }
    END {
        printf "\nSQLite:      %4d tests passed\n", sqlite
        printf "PostgreSQL:  %4d tests passed\n", postgresql
        printf "no database: %4d tests passed\n", neither
        if (failed) printf "FAILED:      %4d tests\n", failed
        exit !(passed && sqlite && postgresql)
    }
' "$output"
