#!/bin/sh
# Installs what the tests need, runs all of them, and says how many ran on each engine.
#
# PostgreSQL: the tests start a private server of their own, for which its programs must be installed.
# TEST_DATABASE_URL may name an administrator's URL of a running server instead.
set -eu
cd "$(dirname "$0")/.."

have_postgresql() {
    [ -n "${TEST_DATABASE_URL:-}" ] || sh tests/suite/support/postgres.sh find >/dev/null 2>&1
}

install_postgresql() {
    if command -v apt-get >/dev/null; then
        install="apt-get install --yes --no-install-recommends postgresql"
    elif command -v dnf >/dev/null; then
        install="dnf install --assumeyes postgresql-server"
    elif command -v brew >/dev/null; then
        brew install postgresql
        return
    else
        echo "error: install PostgreSQL's server (initdb, pg_ctl, postgres), then run this again" >&2
        exit 1
    fi
    echo "PostgreSQL's server is not here: $install"
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        as_root=sudo
    else
        echo "error: only root may do that; run it as root, then run this again" >&2
        exit 1
    fi
    if command -v apt-get >/dev/null; then
        $as_root apt-get update --quiet
    fi
    # shellcheck disable=SC2086
    $as_root $install
}

if ! command -v cargo >/dev/null; then
    echo "error: install Rust (cargo), then run this again" >&2
    exit 1
fi
have_postgresql || install_postgresql

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
        if (suite && /sqlite/) sqlite++
        else if (suite && /postgresql/) postgresql++
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
