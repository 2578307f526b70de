# For scripts: `. start-postgres.sh; start_postgresql PROJECT WORK` starts a private server for as long as
# the script lives, keeps its pipes in the directory WORK, and sets postgresql_port and postgresql_programs.
start_postgresql() {
    postgresql_programs=$(sh "$1/tests/suite/support/postgres.sh" find) || {
        echo "error: PostgreSQL's server is needed (Debian, Ubuntu: apt-get install postgresql)" >&2
        exit 1
    }
    rm -f "$2/hold" "$2/ready"
    mkfifo "$2/hold"
    sh "$1/tests/suite/support/postgres.sh" <"$2/hold" >"$2/ready" &
    # The server runs until this is closed, at the latest by our end.
    exec 9>"$2/hold"
    for _ in $(seq 600); do
        [ -s "$2/ready" ] || sleep 0.1
    done
    read -r _ postgresql_port _ <"$2/ready"
}
