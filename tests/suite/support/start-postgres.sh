# For scripts: `. start-postgres.sh; start_postgresql PROJECT WORK` starts a private server for as long as
# the script lives, keeps its pipes in the directory WORK, and sets postgresql_port and postgresql_directory.
start_postgresql() {
    rm -f "$2/hold" "$2/ready"
    mkfifo "$2/hold"
    sh "$1/tests/suite/support/postgres.sh" <"$2/hold" >"$2/ready" &
    # The server runs until this is closed, at the latest by our end.
    exec 9>"$2/hold"
    # It says either that it is ready or why it is not, and then it has ended.
    while [ ! -s "$2/ready" ] && kill -0 $! 2>/dev/null; do
        sleep 0.1
    done
    read -r _ postgresql_port postgresql_directory <"$2/ready" || {
        echo "error: PostgreSQL did not start" >&2
        exit 1
    }
}
