#!/bin/sh
# Runs a private Alertmanager for as long as standard input stays open.
#
#   sh alertmanager.sh PORT URL    listens on 127.0.0.1:PORT and posts alerts to URL
#
# When standard input closes (the process that held it has ended), it is stopped and its files removed.
program=$(command -v prometheus-alertmanager || command -v alertmanager) || {
    echo "there is no Alertmanager here" >&2
    exit 1
}
dir=$(mktemp -d "${TMPDIR:-/tmp}/usagectl-alertmanager-XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
# Only the end of input may end this script, or the server would not be stopped.
trap '' HUP INT PIPE TERM

# Alerts are sent at once, each by itself.
cat >"$dir/config.yml" <<END
route:
  receiver: ours
  group_by: ['...']
  group_wait: 50ms
  group_interval: 300ms
  repeat_interval: 1h
receivers:
  - name: ours
    webhook_configs:
      - url: $2
        send_resolved: true
END
"$program" --config.file="$dir/config.yml" --storage.path="$dir/data" --cluster.listen-address= \
    --web.listen-address="127.0.0.1:$1" </dev/null >"$dir/log" 2>&1 &
server=$!
cat >/dev/null
kill -KILL "$server"
