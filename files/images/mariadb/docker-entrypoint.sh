#!/bin/bash
# Initialises an empty data directory, then becomes mariadbd.
#
# A first start can be killed at any moment and repeated. The database is built in
# $datadir/.initialising, which the next start throws away; renaming that to .initialised is the one
# atomic step that makes it valid; moving its content up can be continued by a later start. Nothing
# else in the data directory is ever deleted.
#
# Passwords reach the server on a client's standard input, so they are in no argument and in the
# environment of no process, whether they were given as files or as variables.
set -euo pipefail
shopt -s nullglob

datadir=${MARIADB_DATADIR:-/var/lib/mysql}
building=$datadir/.initialising
built=$datadir/.initialised
# Says that the accounts of this image exist: backups bring others with them, and not this file.
adopted=.own-accounts
socket=/run/mysqld/mysqld.sock
server_pid=
tls_options=()

say() { printf '%s [%s] entrypoint: %s\n' "$(date --rfc-3339=seconds)" "$1" "$2" >&2; }
note() { say note "$1"; }
die() {
  say error "$1"
  exit 1
}

# setting NAME: sets MARIADB_NAME from itself, MYSQL_NAME or either one with _FILE, and takes all
# four out of the environment.
setting() {
  local name value='' found='' file
  for name in "MARIADB_$1" "MYSQL_$1"; do
    if [ -n "${!name:-}" ]; then
      [ -z "$found" ] || die "$found and $name are both set: keep one"
      found=$name value=${!name}
    fi
    file=${name}_FILE
    if [ -n "${!file:-}" ]; then
      [ -z "$found" ] || die "$found and $file are both set: keep one"
      [ -r "${!file}" ] ||
        die "$file names ${!file}, which is missing or not readable by uid $(id -u)"
      found=$file value=$(< "${!file}")
      [ -n "$value" ] || die "$file names ${!file}, which is empty"
    fi
    unset "$name" "$file"
  done
  printf -v "MARIADB_$1" %s "$value"
}

# quoted VALUE: the value as an SQL string literal.
quoted() {
  local value=${1//\\/\\\\}
  printf "'%s'" "${value//\'/\\\'}"
}

# identified PASSWORD HASH: the clause that gives an account this password.
identified() {
  if [ -n "$2" ]; then
    printf 'mysql_native_password USING %s' "$(quoted "$2")"
  else
    printf 'mysql_native_password USING PASSWORD(%s)' "$(quoted "$1")"
  fi
}

# docker_process_sql [OPTION...]: runs the SQL on standard input as the account that the image's
# own user has over the socket. Scripts in docker-entrypoint-initdb.d may call it.
docker_process_sql() {
  mariadb --user=mysql --protocol=socket --socket="$socket" --batch "$@"
}

start_temporary_server() {
  mariadbd "$@" --skip-networking --socket="$socket" \
    --loose-innodb-buffer-pool-load-at-startup=0 --loose-innodb-buffer-pool-dump-at-shutdown=0 &
  server_pid=$!
  local deadline=$((SECONDS + 300))
  until [ -S "$socket" ] && docker_process_sql --execute='SELECT 1' > /dev/null 2>&1; do
    kill -0 "$server_pid" 2> /dev/null || die 'the server did not start: its messages are above'
    [ "$SECONDS" -lt "$deadline" ] || die 'the server was not ready within 300 seconds'
    sleep 0.05
  done
}

stop_temporary_server() {
  kill -TERM "$server_pid"
  wait "$server_pid" || die 'the temporary server did not stop cleanly'
  server_pid=
}

# A signal during initialisation: bash is PID 1 then, and nobody else would stop the server.
interrupted() {
  note 'stopped during initialisation: the next start begins anew'
  if [ -n "$server_pid" ]; then
    kill -TERM "$server_pid" 2> /dev/null || true
    wait "$server_pid" || true
  fi
  exit 143
}

check_settings() {
  [ -n "$MARIADB_ROOT_PASSWORD$MARIADB_ROOT_PASSWORD_HASH" ] ||
    [ -n "$MARIADB_RANDOM_ROOT_PASSWORD$MARIADB_ALLOW_EMPTY_ROOT_PASSWORD" ] ||
    die "the database is empty and no root password is given: set MARIADB_ROOT_PASSWORD_FILE (or \
MARIADB_ROOT_PASSWORD), or MARIADB_RANDOM_ROOT_PASSWORD=1 for a root that only the socket lets in"
  [ "$MARIADB_USER" != root ] ||
    die 'MARIADB_USER is root, which exists already: name another user or leave it out'
  [ -z "$MARIADB_USER" ] || [ -n "$MARIADB_PASSWORD$MARIADB_PASSWORD_HASH" ] ||
    die "MARIADB_USER is $MARIADB_USER but MARIADB_PASSWORD_FILE (or MARIADB_PASSWORD) is not set"
  [ "$MARIADB_ROOT_HOST" = localhost ] ||
    [ -n "$MARIADB_ROOT_PASSWORD$MARIADB_ROOT_PASSWORD_HASH" ] ||
    die "MARIADB_ROOT_HOST is $MARIADB_ROOT_HOST: that needs MARIADB_ROOT_PASSWORD_FILE"
}

accounts_sql() {
  local database="\`${MARIADB_DATABASE//\`/\`\`}\`" pattern host
  cat << SQL
SET @@SESSION.SQL_LOG_BIN = 0;
SET @@SESSION.SQL_MODE = REPLACE(@@SESSION.SQL_MODE, 'NO_BACKSLASH_ESCAPES', '');
DELETE FROM mysql.proxies_priv WHERE Host <> 'localhost';
SQL
  if [ -n "$MARIADB_ROOT_PASSWORD$MARIADB_ROOT_PASSWORD_HASH" ]; then
    local root
    root=$(identified "$MARIADB_ROOT_PASSWORD" "$MARIADB_ROOT_PASSWORD_HASH")
    echo "ALTER USER root@localhost IDENTIFIED VIA $root OR unix_socket;"
    if [ "$MARIADB_ROOT_HOST" != localhost ]; then
      host=$(quoted "$MARIADB_ROOT_HOST")
      echo "CREATE USER root@$host IDENTIFIED VIA $root;"
      echo "GRANT ALL ON *.* TO root@$host WITH GRANT OPTION;"
    fi
  fi
  [ -z "$MARIADB_DATABASE" ] || echo "CREATE DATABASE IF NOT EXISTS $database;"
  [ -n "$MARIADB_USER" ] || return 0
  host="$(quoted "$MARIADB_USER")@'%'"
  echo "CREATE USER $host IDENTIFIED VIA $(identified "$MARIADB_PASSWORD" "$MARIADB_PASSWORD_HASH");"
  # In GRANT, an underscore of a database's name is a wildcard unless it is escaped.
  pattern=${database//_/\\_}
  [ -z "$MARIADB_DATABASE" ] || echo "GRANT ALL ON $pattern.* TO $host;"
}

# create_healthcheck_user DIRECTORY: an account without privileges, and its password in DIRECTORY.
create_healthcheck_user() {
  local password host
  password=$(head -c 24 /dev/urandom | base64 --wrap=0)
  for host in localhost 127.0.0.1 ::1; do
    echo "CREATE OR REPLACE USER healthcheck@'$host' IDENTIFIED BY '$password';"
  done | docker_process_sql --init-command='SET @@SESSION.SQL_LOG_BIN = 0'
  (umask 077 && printf '[mariadb-client]\nuser=healthcheck\npassword=%s\n' "$password" \
    > "$1/.my-healthcheck.cnf")
}

run_init_scripts() {
  local file database=()
  [ -z "$MARIADB_DATABASE" ] || database=("--database=$MARIADB_DATABASE")
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
      *.sql) docker_process_sql "${database[@]}" < "$file" ;;
      *.sql.gz) gzip -dc "$file" | docker_process_sql "${database[@]}" ;;
      *) note "ignored $file: neither .sh nor .sql nor .sql.gz" ;;
    esac
  done
}

check_empty() {
  local foreign
  foreign=$(find "$datadir" -mindepth 1 -maxdepth 1 ! -name '.*' ! -name lost+found -printf '%f ')
  [ -z "$foreign" ] ||
    die "$datadir holds no MariaDB database but is not empty either (${foreign% }): empty it or \
mount another directory"
}

# Flushing is left to the end: a database that is half built is thrown away anyhow.
initialise() {
  local output started=$SECONDS
  note 'initialising an empty data directory'
  mkdir "$building"
  local options=("$@" "--datadir=$building" --innodb-flush-log-at-trx-commit=0
    --innodb-doublewrite=OFF --skip-log-bin)
  output=$(mariadb-install-db "${options[@]}" --skip-test-db \
    --auth-root-authentication-method=socket --auth-root-socket-user=mysql 2>&1) ||
    die "mariadb-install-db failed: $output"
  start_temporary_server "${options[@]}"
  accounts_sql | docker_process_sql
  create_healthcheck_user "$building"
  touch "$building/$adopted"
  run_init_scripts
  stop_temporary_server
  find "$building" -exec sync {} +
  mv "$building" "$built"
  sync "$datadir"
  move_up
  note "initialised in $((SECONDS - started)) seconds"
}

move_up() {
  find "$built" -mindepth 1 -maxdepth 1 -exec mv --target-directory="$datadir" -- {} +
  rmdir "$built"
  sync "$datadir"
}

# written_by: the version, as in 11.8.6, that last wrote the system tables; empty when unknown.
written_by() {
  local file
  for file in "$datadir"/{mariadb,mysql}_upgrade_info; do
    if [ -r "$file" ]; then
      cut -d- -f1 "$file"
      return
    fi
  done
}

upgrade_if_needed() {
  local recorded current
  recorded=$(written_by)
  current=$(mariadbd --version | sed -E 's/.* Ver ([0-9.]+).*/\1/')
  [ "${recorded%.*}" != "${current%.*}" ] || return 0
  if [ "$(printf '%s\n' "$recorded" "$current" | sort -V | tail -1)" != "$current" ]; then
    die "the data was written by MariaDB $recorded and this is $current: MariaDB cannot go back"
  fi
  if [ -z "${MARIADB_AUTO_UPGRADE:-}" ]; then
    note "the system tables are of MariaDB ${recorded:-unknown}, this is $current: back up and \
start once with MARIADB_AUTO_UPGRADE=1"
    return 0
  fi
  note "upgrading the system tables from ${recorded:-an unknown version} to $current"
  start_temporary_server "$@" --skip-grant-tables
  local backup=$datadir/system_mysql_backup_${recorded:-unknown}.sql.gz
  (umask 077 && mariadb-dump --user=mysql --protocol=socket --socket="$socket" \
    --skip-lock-tables --databases mysql | gzip > "$backup")
  mariadb-upgrade --user=mysql --protocol=socket --socket="$socket" --upgrade-system-tables
  stop_temporary_server
  rm -f "$datadir/$adopted"
}

# Data that comes from elsewhere (the official image, a restored backup) gets this image's accounts:
# the administrator over the socket, and the health check's.
adopt_if_needed() {
  [ ! -e "$datadir/$adopted" ] || return 0
  note 'creating the accounts that this image needs'
  start_temporary_server "$@" --skip-grant-tables
  # One session: it keeps its rights when the grant tables come into force.
  docker_process_sql << SQL
SET @@SESSION.SQL_LOG_BIN = 0;
FLUSH PRIVILEGES;
CREATE OR REPLACE USER mysql@localhost IDENTIFIED VIA unix_socket;
GRANT ALL ON *.* TO mysql@localhost WITH GRANT OPTION;
SQL
  create_healthcheck_user "$datadir"
  stop_temporary_server
  touch "$datadir/$adopted"
}

# ensure_certificate: a self-signed one beside the data, unless the configuration names its own.
# Without any, MariaDB makes a new 4096-bit RSA key at each start, for half a second up to three;
# clients of 11.4 and later check a self-signed certificate by means of the password.
ensure_certificate() {
  local key=$datadir/.tls-key.pem certificate=$datadir/.tls-certificate.pem
  if my_print_defaults --mysqld | grep -qE '^--(loose[-_])?((skip|disable)[-_])?ssl'; then
    return
  fi
  if ! openssl x509 -in "$certificate" -noout -checkend 2592000 > /dev/null 2>&1; then
    rm -f "$certificate"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 3650 \
      -subj /CN=mariadb -keyout "$key" -out "$certificate.new" 2> /dev/null
    mv "$certificate.new" "$certificate"
  fi
  tls_options=("--ssl-key=$key" "--ssl-cert=$certificate")
}

become_mysql() {
  find "$datadir" /run/mysqld ! -user mysql -exec chown mysql:mysql {} +
  exec setpriv --reuid=mysql --regid=mysql --clear-groups "$0" "$@"
}

main() {
  [ "${1:0:1}" != - ] || set -- mariadbd "$@"
  case ${1:-} in
    mariadbd | mysqld) ;;
    *) exec "$@" ;;
  esac
  local option
  for option in "${@:2}"; do
    case $option in --help | --version | -'?' | -V) exec "$@" ;; esac
  done
  [ "$(id -u)" != 0 ] || become_mysql "$@"

  [ "$(id -un 2> /dev/null)" = mysql ] ||
    die "this runs as uid $(id -u): run it as 10002:10002, the image's user, or as root"
  local directory
  for directory in "$datadir" /run/mysqld /tmp; do
    [ -w "$directory" ] || die "$directory is not writable by uid $(id -u): give the directory to \
10002:10002, or mount a tmpfs there if the root file system is read-only"
  done

  local name
  for name in ROOT_PASSWORD ROOT_PASSWORD_HASH ROOT_HOST RANDOM_ROOT_PASSWORD \
    ALLOW_EMPTY_ROOT_PASSWORD DATABASE USER PASSWORD PASSWORD_HASH; do
    setting "$name"
  done
  : "${MARIADB_ROOT_HOST:=localhost}"

  shift
  trap interrupted TERM INT
  rm -rf "$building"
  [ ! -d "$built" ] || move_up
  if [ ! -d "$datadir/mysql" ]; then
    check_settings
    check_empty
  fi
  ensure_certificate
  local pool=${MARIADB_INNODB_BUFFER_POOL_SIZE:-}
  set -- "--datadir=$datadir" "${tls_options[@]}" ${pool:+"--innodb-buffer-pool-size=$pool"} "$@"
  if [ -d "$datadir/mysql" ]; then
    upgrade_if_needed "$@"
    adopt_if_needed "$@"
  else
    initialise "$@"
  fi
  trap - TERM INT
  exec mariadbd "$@"
}

main "$@"
