#!/bin/bash
# Initialises an empty data directory, then becomes postgres.
#
# A first start can be killed at any moment and repeated. The database is built in
# $PGDATA/.initialising, which the next start throws away; renaming that to .initialised is the one
# atomic step that makes it valid; moving its content up can be continued by a later start. Nothing
# else in the data directory is ever deleted.
#
# Passwords reach the server on psql's standard input, so they are in no argument and in the
# environment of no process, whether they were given as files or as variables.
set -euo pipefail
shopt -s nullglob

export PGDATA=${PGDATA:-/var/lib/postgresql/data}
building=$PGDATA/.initialising
built=$PGDATA/.initialised
# Says that the role and the files of this image exist: data from elsewhere comes without it.
adopted=.own-role
# No client and no health check looks for the temporary server here.
private=/run/postgresql/.initialising
server_pid=

say() { printf '%s [%s] entrypoint: %s\n' "$(date --rfc-3339=seconds)" "$1" "$2" >&2; }
note() { say note "$1"; }
die() {
  say error "$1"
  exit 1
}

# setting NAME: sets POSTGRES_NAME from itself or from the file that POSTGRES_NAME_FILE names, and
# takes both out of the environment.
setting() {
  local name=POSTGRES_$1 file=POSTGRES_$1_FILE value
  value=${!name:-}
  if [ -n "${!file:-}" ]; then
    [ -z "$value" ] || die "$name and $file are both set: keep one"
    [ -r "${!file}" ] || die "$file names ${!file}, which is missing or not readable by uid $(id -u)"
    value=$(< "${!file}")
    [ -n "$value" ] || die "$file names ${!file}, which is empty"
  fi
  unset "$name" "$file"
  printf -v "$name" %s "$value"
}

# literal VALUE, identifier NAME: as SQL writes them.
literal() { printf "'%s'" "${1//\'/\'\'}"; }
identifier() { printf '"%s"' "${1//\"/\"\"}"; }

# docker_process_sql [OPTION...]: runs the SQL on standard input, in the application's database as
# its user unless options say otherwise. Scripts in docker-entrypoint-initdb.d may call it.
docker_process_sql() {
  psql --set=ON_ERROR_STOP=1 --no-psqlrc --no-password --quiet --host="$private" \
    --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" "$@"
}

as_administrator() { docker_process_sql --username=postgres --dbname=postgres "$@"; }

# Flushing is left to the end: a database that is half built is thrown away anyhow.
start_temporary_server() {
  mkdir -m 0700 "$private"
  PGDATA=$building postgres "$@" -c listen_addresses= -c unix_socket_directories="$private" \
    -c fsync=off -c full_page_writes=off -c synchronous_commit=off &
  server_pid=$!
  local deadline=$((SECONDS + 300))
  until pg_isready --quiet --host="$private" > /dev/null 2>&1; do
    kill -0 "$server_pid" 2> /dev/null || die 'the server did not start: its messages are above'
    [ "$SECONDS" -lt "$deadline" ] || die 'the server was not ready within 300 seconds'
    sleep 0.05
  done
}

stop_temporary_server() {
  kill -INT "$server_pid"
  wait "$server_pid" || die 'the temporary server did not stop cleanly'
  server_pid=
  rm -rf "$private"
}

# A signal during initialisation: bash is PID 1 then, and nobody else would stop the server.
interrupted() {
  note 'stopped during initialisation: the next start begins anew'
  if [ -n "$server_pid" ]; then
    kill -INT "$server_pid" 2> /dev/null || true
    wait "$server_pid" || true
  fi
  exit 143
}

check_settings() {
  [ -n "$POSTGRES_PASSWORD" ] || [ "$POSTGRES_HOST_AUTH_METHOD" = trust ] ||
    die "the database is empty and no password is given: set POSTGRES_PASSWORD_FILE (or \
POSTGRES_PASSWORD), or POSTGRES_HOST_AUTH_METHOD=trust to let everybody in without one"
  case $POSTGRES_USER in
    pg_* | public | none) die "POSTGRES_USER is $POSTGRES_USER, which PostgreSQL keeps for itself" ;;
  esac
  case $POSTGRES_DB in
    template0 | template1) die "POSTGRES_DB is $POSTGRES_DB, which PostgreSQL keeps for itself" ;;
  esac
  [ -z "${POSTGRES_INITDB_WALDIR:-}" ] ||
    die 'POSTGRES_INITDB_WALDIR is not supported: leave it out, the log is in the data directory'
}

check_data() {
  local reason
  reason=$(moorage-fits 2>&1) || die "${reason#moorage-fits: }"
}

# write_configuration DIRECTORY: the image's defaults go before what is there, conf.d after it.
write_configuration() {
  local file=$1/postgresql.conf
  {
    echo "include_if_exists '/etc/postgresql/defaults.conf'"
    [ ! -e "$file" ] || cat "$file"
    echo "include_if_exists '/etc/postgresql/overrides.conf'"
  } > "$file.new"
  chmod 0600 "$file.new"
  mv "$file.new" "$file"
}

# write_access DIRECTORY: whoever is this image's user or root in the container can read the data
# files, so the socket lets both in as any role; everybody else needs the password.
write_access() {
  cat > "$1/pg_hba.conf" << HBA
# type database user address method
local  all      all          peer map=container
host   all      all  all     $POSTGRES_HOST_AUTH_METHOD
HBA
  cat > "$1/pg_ident.conf" << 'IDENT'
# map     system user  role
container postgres     all
container root         all
IDENT
}

accounts_sql() {
  local user password=
  user=$(identifier "$POSTGRES_USER")
  [ -z "$POSTGRES_PASSWORD" ] || password="PASSWORD $(literal "$POSTGRES_PASSWORD")"
  # A setting may have statements logged.
  echo "SET log_statement = 'none'; SET log_min_error_statement = 'panic';"
  echo "SET log_min_duration_statement = -1;"
  if [ "$POSTGRES_USER" = postgres ]; then
    [ -z "$password" ] || echo "ALTER ROLE $user $password;"
  else
    # Scripts of the first start may do everything, as in the official image.
    echo "CREATE ROLE $user LOGIN SUPERUSER $password;"
  fi
  if [ "$POSTGRES_DB" = postgres ]; then
    echo "ALTER DATABASE postgres OWNER TO $user;"
  else
    echo "CREATE DATABASE $(identifier "$POSTGRES_DB") OWNER $user;"
  fi
}

run_init_scripts() {
  local file
  # For programs that scripts start.
  export PGHOST=$private POSTGRES_USER POSTGRES_DB
  for file in /docker-entrypoint-initdb.d/*; do
    note "running $file"
    case $file in
      *.sh)
        if [ -x "$file" ]; then
          "$file"
        else
          # shellcheck source=/dev/null
          . "$file"
        fi ;;
      *.sql) docker_process_sql < "$file" ;;
      *.sql.gz) gzip -dc "$file" | docker_process_sql ;;
      *) note "ignored $file: neither .sh nor .sql nor .sql.gz" ;;
    esac
  done
  unset PGHOST
}

initialise() {
  local output started=$SECONDS arguments=() locale=(--locale-provider=builtin --locale=C.UTF-8)
  note 'initialising an empty data directory'
  mkdir -m 0700 "$building"
  eval "arguments=($POSTGRES_INITDB_ARGS)"
  case "$POSTGRES_INITDB_ARGS" in
    *--locale* | *--lc-* | *--icu-* | *--no-locale* | *--builtin-*) locale=() ;;
  esac
  output=$(initdb --pgdata="$building" --username=postgres --auth=peer --encoding=UTF8 \
    --data-checksums --no-sync --no-instructions "${locale[@]}" "${arguments[@]}" 2>&1) ||
    die "initdb failed: $output"
  rm "$building/postgresql.conf"
  write_configuration "$building"
  write_access "$building"
  touch "$building/$adopted"
  start_temporary_server "$@"
  accounts_sql | as_administrator --set=VERBOSITY=terse
  run_init_scripts
  [ "$POSTGRES_USER" = postgres ] ||
    as_administrator <<< "ALTER ROLE $(identifier "$POSTGRES_USER") NOSUPERUSER"
  stop_temporary_server
  initdb --pgdata="$building" --sync-only > /dev/null 2>&1 || die 'flushing the database failed'
  mv "$building" "$built"
  sync "$PGDATA"
  move_up
  note "initialised in $((SECONDS - started)) seconds"
}

move_up() {
  find "$built" -mindepth 1 -maxdepth 1 -exec mv --target-directory="$PGDATA" -- {} +
  rmdir "$built"
  sync "$PGDATA"
}

# Data that comes from elsewhere (the official image, a package) gets this image's administrator and
# the settings that it needs; what it has stays in force.
adopt_if_needed() {
  [ ! -e "$PGDATA/$adopted" ] || return 0
  if [ -e "$PGDATA/recovery.signal" ] || [ -e "$PGDATA/standby.signal" ]; then
    note 'the data is to be recovered first: the role of this image is created at a later start'
    return 0
  fi
  note "adopting the data: an administrator 'postgres', and the image's settings"
  [ -e "$PGDATA/pg_hba.conf" ] || write_access "$PGDATA"
  grep -qs /etc/postgresql/defaults.conf "$PGDATA/postgresql.conf" || write_configuration "$PGDATA"
  echo "DO \$\$BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'postgres') THEN \
CREATE ROLE postgres LOGIN SUPERUSER; END IF; END\$\$" |
    postgres --single "$@" -c log_min_messages=warning template1 > /dev/null ||
    die 'adopting the data failed: the messages are above'
  touch "$PGDATA/$adopted"
}

# forget_killed: puts this process's number into the mark of a server that was killed and whose number
# is another process's by now. Where that one has this uid, as a server of another stack without
# containers has, postgres would take it for its own and never start again. Who keeps others out
# needs no mark for that; what it says of shared memory stays, by which postgres knows a server that
# somebody started by hand. Often that other process may not be looked at, and a server's may.
forget_killed() {
  local mark=$PGDATA/postmaster.pid pid=
  [ -e "$mark" ] || return 0
  read -r pid < "$mark" || true
  if [[ ! $pid =~ ^-?[0-9]+$ ]]; then
    note 'forgetting a server that was killed: its mark is torn'
    rm -- "$mark"
    return
  fi
  pid=${pid#-}
  if kill -0 "$pid" 2> /dev/null && [ ! "/proc/$pid/cwd" -ef "$PGDATA" ]; then
    note "forgetting a server that was killed: $pid is another process"
    sed -i "1s/.*/$$/" "$mark"
  fi
}

# keep_others_out: holds a lock as long as the server and what it has started live. Servers in two
# containers, or one there and one on the host, do not see each other otherwise, and ruin the data.
keep_others_out() {
  local lock
  exec {lock}< "$PGDATA"
  flock --wait 5 "$lock" || die "another server works in $PGDATA: stop it first; nothing was touched"
}

become_postgres() {
  mkdir -p "$PGDATA"
  find "$PGDATA" /run/postgresql ! -user postgres -exec chown postgres:postgres {} +
  exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
}

check_directories() {
  [ "$(id -un 2> /dev/null)" = postgres ] ||
    die "this runs as uid $(id -u): run it as 10004:10004, the image's user, or as root"
  mkdir -p "$PGDATA" 2> /dev/null || true
  local directory
  for directory in "$PGDATA" /run/postgresql; do
    [ -w "$directory" ] || die "$directory is not writable by uid $(id -u): give the directory to \
10004:10004, or mount a tmpfs there if the root file system is read-only"
  done
  # PostgreSQL insists on both.
  [ -O "$PGDATA" ] || die "$PGDATA belongs to uid $(stat -c %u "$PGDATA"): give it to 10004:10004"
  # It takes no other mode than these two; who has given one of them is not contradicted.
  case $(stat -c %a "$PGDATA") in
    700 | 750) ;;
    *) chmod 0700 "$PGDATA" ;;
  esac
}

main() {
  [ "${1:0:1}" != - ] || set -- postgres "$@"
  [ "${1:-}" = postgres ] || exec "$@"
  local option
  for option in "${@:2}"; do
    case $option in --help | --version | --describe-config | -'?' | -V | -C) exec "$@" ;; esac
  done
  [ "$(id -u)" != 0 ] || become_postgres "$@"
  check_directories

  local name
  for name in USER PASSWORD DB INITDB_ARGS HOST_AUTH_METHOD; do
    setting "$name"
  done
  : "${POSTGRES_USER:=postgres}" "${POSTGRES_HOST_AUTH_METHOD:=scram-sha-256}"
  : "${POSTGRES_DB:=$POSTGRES_USER}"

  shift
  keep_others_out
  trap interrupted TERM INT
  rm -rf "$building" "$private"
  [ ! -d "$built" ] || move_up
  if [ -e "$PGDATA/PG_VERSION" ]; then
    check_data
    forget_killed
    adopt_if_needed "$@"
  else
    check_settings
    check_data
    initialise "$@"
  fi
  trap - TERM INT
  exec postgres "$@"
}

main "$@"
