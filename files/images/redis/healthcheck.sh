#!/bin/bash
# healthcheck.sh: exit 0 when Redis answers commands, which it does not while it loads its data.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=moorage-client
. moorage-client

[ $# -eq 0 ] || die 64 'usage: healthcheck.sh'
# redis-cli succeeds whatever the server answers.
answer=$(timeout 5 "${client[@]}" ping 2>&1) || true
[ "$answer" = PONG ] || die 1 "${answer:-no answer within 5 seconds}"
