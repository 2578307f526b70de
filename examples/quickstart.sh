#!/bin/sh
# Builds usagectl and demonstrates it on the example data, in a fresh embedded database.
# USAGECTL may name a binary that is built already.
set -eu
project=$(cd "$(dirname "$0")/.." && pwd)

usagectl=${USAGECTL:-${CARGO_TARGET_DIR:-$project/target}/release/usagectl}
if [ -z "${USAGECTL:-}" ]; then
    # The demonstration needs no TLS, whose OpenSSL would double the time of the build.
    echo "Building usagectl without TLS: up to five minutes the first time ..." >&2
    quiet=--quiet
    [ ! -t 2 ] || quiet=
    cargo build --release --locked --no-default-features $quiet --manifest-path "$project/Cargo.toml"
fi

# The embedded default database is under XDG_DATA_HOME; no other may be named.
XDG_DATA_HOME=$(mktemp -d "${TMPDIR:-/tmp}/usagectl-demo-XXXXXX")
export XDG_DATA_HOME
unset DATABASE_URL DIRECT_URL
cd "$XDG_DATA_HOME"
ln -s "$project/examples/usage.ndjson" "$project/examples/metrics.ndjson" .
# The data ends at this moment.
USAGECTL_NOW=2026-01-31T12:00:00Z
export USAGECTL_NOW

show() {
    printf '\n# %s\n$ usagectl %s\n' "$1" "$2"
    # The arguments contain no spaces.
    # shellcheck disable=SC2086
    "$usagectl" $2
}

show "Create the database: the application's tables and usagectl's own" \
    "migrate"
show "Record 4,000 calls to seven APIs; recording them again would add nothing" \
    "record usage.ndjson"
show "Roll them up into hours, days and months" \
    "aggregate -v"
show "Requests, errors, response times and cost of the last 24 hours" \
    "stats --last 24h"
show "Send notifications to this terminal (or to Slack, Alertmanager, a webhook, a program)" \
    "alerts channel add terminal stdout"
show "Fire when ten calls to finnhub have failed within a day" \
    "alerts add --api finnhub --type ERROR_SPIKE --threshold 10 --period DAY"
show "Evaluate all rules, as cron does every minute" \
    "alerts check"
show "Store the limits of the plans in use and of the seven APIs, each with its source" \
    "limits init --plan upstash=free --plan vercel=pro --plan neon=launch" | sed 9q
show "Import sixty days of infrastructure metrics" \
    "collect import metrics.ndjson"
show "Forecast when the limits will be reached" \
    "recommend forecast --service VERCEL_KV"
show "Recommend upgrades" \
    "recommend run"
show "Check the database, as CI does" \
    "status"

cat <<END

The demonstration database is $XDG_DATA_HOME/usagectl/usagectl.db.

For your own data: this binary works with SQLite and with PostgreSQL without TLS. Build the full one and begin:

  cargo build --release
  export DATABASE_URL=postgresql://USER:PASSWORD@HOST/DATABASE     # or sqlite:usage.db
  $usagectl migrate --dry-run
END
