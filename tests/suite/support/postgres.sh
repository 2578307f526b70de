#!/bin/sh
# Runs a private PostgreSQL server for as long as standard input stays open.
#
#   sh postgres.sh         runs it; prints one line, "ready PORT DIRECTORY", when it accepts connections
#   sh postgres.sh find    prints the directory of PostgreSQL's server programs, or fails
#
# The server lives in a temporary directory and listens on 127.0.0.1 and on a socket in that directory;
# its superuser is `postgres`, without a password. When standard input closes, because the process
# that held it ended, the server is stopped and its directory removed.
# SETTINGS holds further lines for postgresql.conf. With TLS=1 the server has a certificate for `localhost`,
# signed by itself, in DIRECTORY/server.crt.

find_programs() {
    # Debian keeps them off the PATH, a directory for each version: the newest first.
    for directory in "$(dirname "$(command -v initdb)")" "$(pg_config --bindir 2>/dev/null)" \
        $(# shellcheck disable=SC2012
            ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5 -rn); do
        if [ -x "$directory/initdb" ] && [ -x "$directory/pg_ctl" ] && [ -x "$directory/postgres" ]; then
            echo "$directory"
            return
        fi
    done
    return 1
}

programs=$(find_programs) || {
    echo "there are no PostgreSQL server programs (initdb, pg_ctl, postgres) here" >&2
    exit 1
}
if [ "${1:-}" = find ]; then
    echo "$programs"
    exit
fi

# PostgreSQL refuses to run as root. The user it runs as may not be able to read this file.
if [ "$(id -u)" = 0 ]; then
    user=postgres
    id "$user" >/dev/null 2>&1 || user=nobody
    cd /
    exec setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups sh -c "$(cat "$0")" "$0"
fi

# The caller's own settings for PostgreSQL's programs are not meant for this server.
unset PGDATA PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGPASSWORD PGOPTIONS PGSERVICE PGTZ PGSSLMODE

dir=$(mktemp -d "${TMPDIR:-/tmp}/usagectl-postgres-XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
# Only the end of input may end this script, or the server would not be stopped.
trap '' HUP INT PIPE TERM

if ! "$programs/initdb" --pgdata="$dir/data" --username=postgres --auth=trust --encoding=UTF8 \
    --locale=C --no-sync >"$dir/log" 2>&1
then
    cat "$dir/log" >&2
    exit 1
fi
# One role is asked for its password, to see what happens when it is wrong.
{
    echo "host all guarded 127.0.0.1/32 scram-sha-256"
    cat "$dir/data/pg_hba.conf"
} >"$dir/hba" && mv "$dir/hba" "$dir/data/pg_hba.conf"
{
    echo "listen_addresses = '127.0.0.1'"
    echo "unix_socket_directories = '$dir'"
    echo "${SETTINGS:-}"
} >>"$dir/data/postgresql.conf"

if [ -n "${TLS:-}" ]; then
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -keyout "$dir/server.key" -out "$dir/server.crt" 2>>"$dir/log"
    chmod 600 "$dir/server.key"
    {
        echo "ssl = on"
        echo "ssl_cert_file = '$dir/server.crt'"
        echo "ssl_key_file = '$dir/server.key'"
    } >>"$dir/data/postgresql.conf"
fi

# A free port; another one if it is taken meanwhile.
for attempt in 1 2 3 4 5; do
    port=$((20000 + ($$ * 7 + attempt * 1009) % 12000))
    if "$programs/pg_ctl" -D "$dir/data" -l "$dir/log" -o "-p $port" -s -w -t 60 start \
        </dev/null >/dev/null 2>&1
    then
        echo "ready $port $dir" 2>/dev/null
        cat >/dev/null
        "$programs/pg_ctl" -D "$dir/data" -s -m immediate stop
        exit
    fi
done
cat "$dir/log" >&2
exit 1
