#!/bin/bash
# healthcheck.sh --connect --innodb_initialized: exit 0 when every named check holds.
#
# The first start creates a user without any privilege for this and keeps its random password in
# the data directory, in the file and format of the official image, so that data directories can be
# exchanged between the two.
set -euo pipefail

usage() {
  echo "usage: healthcheck.sh [--connect] [--innodb_initialized]" >&2
  exit 64
}

protocol=socket
query='SELECT 1'

[ $# -gt 0 ] || usage
for check in "$@"; do
  case $check in
    # TCP is closed while the first start initialises, so it tells serving from initialising.
    --connect) protocol=tcp ;;
    --innodb_initialized)
      query="SELECT 1 FROM information_schema.ENGINES
             WHERE engine = 'InnoDB' AND support IN ('YES', 'DEFAULT')" ;;
    *) usage ;;
  esac
done

client=(mariadb)
credentials=${MARIADB_DATADIR:-/var/lib/mysql}/.my-healthcheck.cnf
[ ! -r "$credentials" ] || client+=("--defaults-extra-file=$credentials")
# Without a container it listens at the address of its stack.
[ "$protocol" = socket ] || client+=("--host=${MOORAGE_LISTEN:-localhost}")
client+=("--protocol=$protocol" --connect-timeout=3 --batch --skip-column-names)

if answer=$(timeout 5 "${client[@]}" --execute="$query" 2>&1); then
  [ "$answer" = 1 ]
  exit
fi
case $answer in
  # A restored backup brings other accounts with it. A server that refuses a password is serving,
  # and without InnoDB, its default engine, MariaDB does not start at all.
  *'ERROR 1045 '*) exit 0 ;;
esac
echo "$answer" >&2
exit 1
