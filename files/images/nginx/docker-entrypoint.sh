#!/bin/sh
set -eu
# nginx leaves its sockets behind when it is killed, and then cannot bind to them.
rm -f "${EDGE_SOCKET:-/run/moorage/edge/control.sock}"
exec "$@"
