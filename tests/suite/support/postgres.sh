# Runs a private PostgreSQL server for as long as standard input stays open.
#
#   sh postgres.sh BINDIR PORT...
#
# The server is made in a temporary directory and listens on 127.0.0.1, on the first of the ports that is
# free, and on a socket in that directory. When it accepts connections, one line is printed: "ready PORT DIR".
# When standard input closes (whoever held it ended, in whatever way), the server is stopped and its
# directory removed. SETTINGS holds further settings, a line each, for postgresql.conf.
bin=$1
shift
dir=$(mktemp -d "${TMPDIR:-/tmp}/usagectl-postgres-XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
# Whatever ends us by force must not leave the server behind: only the end of the input does.
trap '' HUP INT PIPE TERM

if ! "$bin/initdb" --pgdata="$dir/data" --username=postgres --auth=trust --encoding=UTF8 --locale=C \
    --no-sync >"$dir/log" 2>&1
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
    echo "$SETTINGS"
} >>"$dir/data/postgresql.conf"

for port in "$@"; do
    if "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -o "-p $port" -s -w -t 60 start </dev/null >/dev/null 2>&1
    then
        echo "ready $port $dir" 2>/dev/null
        cat >/dev/null
        "$bin/pg_ctl" -D "$dir/data" -s -m immediate stop
        exit 0
    fi
done
cat "$dir/log" >&2
exit 1
