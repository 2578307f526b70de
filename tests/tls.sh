#!/bin/sh
# Tests TLS to PostgreSQL with a binary that contains OpenSSL (`cargo build`): a private server with its own
# certificate, and the relevant values of sslmode.
set -eu
cd "$(dirname "$0")/.."
project=$PWD
usagectl=${CARGO_TARGET_DIR:-$project/target}/debug/usagectl
work=$(mktemp -d "${TMPDIR:-/tmp}/usagectl-tls-XXXXXX")
trap 'rm -rf "$work"' EXIT

export TLS=1
. tests/suite/support/start-postgres.sh
start_postgresql "$project" "$work"
certificate=$postgresql_directory/server.crt
unset TLS DATABASE_URL DIRECT_URL

# try CODE WORDS HOST PARAMETERS [VARIABLE=VALUE...]: `status` exits with CODE and prints WORDS.
try() {
    code=$1 words=$2 url="postgresql://postgres@$3:$postgresql_port/postgres?$4"
    shift 4
    found=0
    said=$(env HOME="$work" "$@" "$usagectl" --database-url "$url" status 2>&1) || found=$?
    if [ "$found" != "$code" ] || ! echo "$said" | grep -q "$words"; then
        echo "tls: $url: expected exit status $code and \"$words\", got $found and:" >&2
        echo "$said" >&2
        exit 1
    fi
    echo "tls: $(echo "$url" | cut -d'?' -f2-) $* ... ok"
}

# 3: connected, not migrated. 7: not connected.
try 3 pending localhost "sslmode=require"
try 3 pending localhost "sslmode=verify-full&sslrootcert=$certificate"
# Prisma's parameters.
try 3 pending localhost "sslaccept=strict&sslcert=$certificate"
# The system's certificates: here only those named by SSL_CERT_FILE.
try 3 pending localhost "sslmode=verify-full" SSL_CERT_FILE="$certificate"
try 3 pending localhost "sslrootcert=system" SSL_CERT_FILE="$certificate"
# An untrusted certificate, and one for another host.
try 7 "certificate verify failed" localhost "sslmode=verify-full"
try 7 "does not match host name" 127.0.0.1 "sslmode=verify-full&sslrootcert=$certificate"
