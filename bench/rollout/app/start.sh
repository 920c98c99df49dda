#!/bin/sh
# A container that starts its services itself: in the background, their numbers in a file, a look
# at them every ten seconds. The trap is a courtesy: without it stopping takes ten seconds more.
mkdir -p /tmp/data
trap 'kill "$pid"; wait "$pid"; exit 0' TERM

start() {
    python3 /app/app.py &
    pid=$!
    echo "WEB_PID=$pid" >/tmp/data/pids.env
}

start
while :; do
    sleep 10 &
    wait $!
    kill -0 "$pid" 2>/dev/null || start
done
