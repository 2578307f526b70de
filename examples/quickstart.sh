#!/bin/sh
# Builds usagectl and shows its main job on the example data, in a fresh embedded database.
set -eu
project=$(cd "$(dirname "$0")/.." && pwd)

echo "Building usagectl (a first build takes a few minutes: SQLite, libpq and OpenSSL are compiled in) ..."
cargo build --release --locked --manifest-path "$project/Cargo.toml"
usagectl=${CARGO_TARGET_DIR:-$project/target}/release/usagectl

# The embedded default database is kept under XDG_DATA_HOME; nothing else may name one.
XDG_DATA_HOME=$(mktemp -d "${TMPDIR:-/tmp}/usagectl-quickstart-XXXXXX")
export XDG_DATA_HOME
unset DATABASE_URL DIRECT_URL
cd "$XDG_DATA_HOME"
ln -s "$project/examples/usage.ndjson" "$project/examples/metrics.ndjson" .
# The data ends at this moment; without it, "the last 24 hours" would be empty.
USAGECTL_NOW=2026-01-31T12:00:00Z
export USAGECTL_NOW

show() {
    printf '\n# %s\n$ usagectl %s\n' "$1" "$2"
    # The arguments have no spaces of their own.
    # shellcheck disable=SC2086
    "$usagectl" $2
}

# The first recommendation there is.
recommendation() {
    "$usagectl" recommend list --format csv | sed -n '2s/,.*//p'
}

show "Make the database: the application's tables, and what usagectl needs for itself." \
    "migrate"
show "Record 4,000 calls to seven APIs." \
    "record usage.ndjson"
show "Again: nothing is recorded twice." \
    "record usage.ndjson"
show "Roll them up into hours, days and months." \
    "aggregate -v"
show "What happened in the last 24 hours?" \
    "stats --last 24h"
show "Where does finnhub spend its time?" \
    "stats --api finnhub --group-by endpoint --last 24h"
show "What do the plans in use, and the seven APIs, allow? Every number names the page it is from." \
    "limits init --plan upstash=free --plan vercel=pro --plan neon=launch"
show "Notices shall go to this terminal (or to Slack, Alertmanager, a webhook, a program)." \
    "alerts channel add terminal stdout"
show "Tell when ten calls to finnhub have failed within a day, and when its rate limit is near." \
    "alerts add --api finnhub --type ERROR_SPIKE --threshold 10 --period DAY"
show "... the second rule:" \
    "alerts add --api finnhub --type RATE_LIMIT_WARNING --threshold 80 --period MINUTE"
show "What cron runs every minute: the rule fires, and its notice arrives, once." \
    "alerts check"
show "Where do the rules stand?" \
    "alerts list"
show "Sixty days of infrastructure metrics." \
    "collect import metrics.ndjson"
show "Where are they heading?" \
    "recommend forecast --service VERCEL_KV --metric STORAGE_MB"
show "What should be upgraded, to which plan, at what price?" \
    "recommend run"
show "The whole of it, with where each number comes from." \
    "recommend show $(recommendation)"
show "Is everything in order?" \
    "status"

cat <<END

The database is $XDG_DATA_HOME/usagectl/usagectl.db, its clock stands at $USAGECTL_NOW. Look around:

  export XDG_DATA_HOME=$XDG_DATA_HOME USAGECTL_NOW=$USAGECTL_NOW
  $usagectl stats --help
END
