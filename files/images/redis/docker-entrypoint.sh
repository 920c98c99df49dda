#!/bin/bash
# Puts a restored snapshot into place, hands the password over, then becomes redis-server.
#
# The server reads the password from a file in /run/redis, which only its user can read: so it is in
# no argument and in the environment of no process, whether it was given as a file or a variable.
#
# With the append-only file on, Redis loads that file alone: a snapshot beside it is ignored, and
# overwritten later. So a snapshot without such a file becomes its beginning. Each step is a rename,
# and a start that was killed between two of them is continued by the next one.
set -euo pipefail
shopt -s nullglob nocasematch

data=/data
snapshot=$data/dump.rdb
# Written by moorage-restore, whole.
restored=$data/.restored.rdb
log=$data/appendonlydir
building=$data/.building
replaced=$data/.replaced

say() { printf '%s [%s] entrypoint: %s\n' "$(date --rfc-3339=seconds)" "$1" "$2" >&2; }
note() { say note "$1"; }
die() {
  say error "$1"
  exit 1
}

# take_password: sets `password` from REDIS_PASSWORD or REDIS_PASSWORD_FILE, and takes both out of
# the environment.
take_password() {
  password=${REDIS_PASSWORD:-}
  local file=${REDIS_PASSWORD_FILE:-}
  unset REDIS_PASSWORD REDIS_PASSWORD_FILE
  [ -n "$file" ] || return 0
  [ -z "$password" ] || die 'REDIS_PASSWORD and REDIS_PASSWORD_FILE are both set: keep one'
  [ -r "$file" ] ||
    die "REDIS_PASSWORD_FILE names $file, which is missing or not readable by uid $(id -u)"
  password=$(< "$file")
  [ -n "$password" ] || die "REDIS_PASSWORD_FILE names $file, which is empty"
}

# write_password: for the server as its configuration, for clients in the container as it is.
write_password() {
  local escaped=${password//\\/\\\\}
  rm -f /run/redis/password /run/redis/password.conf
  if [ -z "$password" ]; then
    note 'no password: whoever reaches the port comes in. Set REDIS_PASSWORD_FILE'
    : > /run/redis/password.conf
    return
  fi
  (umask 077 && printf 'requirepass "%s"\n' "${escaped//\"/\\\"}" > /run/redis/password.conf &&
    printf %s "$password" > /run/redis/password)
}

# appends CONFIGURATION [OPTION...]: whether the append-only file will be on, as the last word says.
appends() {
  local found word='' previous=''
  # Of the official image's own files none is read but those named here.
  found=$(sed -nE 's/^[[:space:]]*appendonly[[:space:]]+"?(yes|no).*/\1/Ip' "$1" \
    /etc/redis/conf.d/*.conf | tail -1)
  for word in "${@:2}"; do
    [[ $previous != --appendonly ]] || found=$word
    [[ $word != '--appendonly '* ]] || found=${word#* }
    previous=$word
  done
  [[ $found == yes* ]]
}

check_data() {
  local foreign
  [ ! -e "$snapshot" ] && [ ! -e "$log" ] && [ ! -e "$restored" ] || return 0
  foreign=$(find "$data" -mindepth 1 -maxdepth 1 ! -name '.*' ! -name lost+found ! -name '*.rdb' \
    ! -name '*.aof' ! -name '*.conf' ! -name 'appendonly*' ! -name users.acl -printf '%f ')
  [ -z "$foreign" ] ||
    die "$data holds no data of Redis but is not empty either (${foreign% }): empty it or mount \
another directory"
}

# begin_log SNAPSHOT: makes it the beginning of a new append-only file.
begin_log() {
  rm -rf "$building"
  mkdir -m 0750 "$building"
  # Redis never writes into this file: it replaces it.
  ln "$1" "$building/appendonly.aof.1.base.rdb"
  echo 'file appendonly.aof.1.base.rdb seq 1 type b' > "$building/appendonly.aof.manifest"
  find "$building" -exec sync {} +
  rm -rf "$replaced"
  [ ! -e "$log" ] || mv "$log" "$replaced"
  mv "$building" "$log"
  sync "$data"
}

# settle CONFIGURATION [OPTION...]
settle() {
  if [ -e "$restored" ]; then
    note 'putting the restored snapshot into place'
    if appends "$@"; then
      begin_log "$restored"
    else
      rm -rf "$log"
    fi
    mv "$restored" "$snapshot"
    sync "$data"
  elif [ -e "$snapshot" ] && [ ! -e "$log" ] && [ ! -e "$data/appendonly.aof" ] && appends "$@"; then
    note 'the snapshot dump.rdb becomes the beginning of the append-only file'
    begin_log "$snapshot"
  fi
  rm -rf "$building" "$replaced" "$data"/.dump.* "$data"/.census "$data"/.arriving.*
}

# keep_others_out: holds a lock as long as the server and what it has started live; two servers would
# write over each other's files.
keep_others_out() {
  local lock
  exec {lock}< "$data"
  flock --wait 5 "$lock" || die "another server works in $data: stop it first; nothing was touched"
}

become_redis() {
  find "$data" /run/redis ! -user redis -exec chown redis:redis {} +
  exec setpriv --reuid=redis --regid=redis --clear-groups "$0" "$@"
}

main() {
  case ${1:-} in -* | *.conf) set -- redis-server "$@" ;; esac
  [ "${1:-}" = redis-server ] || exec "$@"
  case ${2:-} in --help | -h | --version | -v | --test-memory | --check-system) exec "$@" ;; esac
  [ "$(id -u)" != 0 ] || become_redis "$@"

  [ "$(id -un 2> /dev/null)" = redis ] ||
    die "this runs as uid $(id -u): run it as 10005:10005, the image's user, or as root"
  local directory
  for directory in "$data" /run/redis; do
    [ -w "$directory" ] || die "$directory is not writable by uid $(id -u): give the directory to \
10005:10005, or mount a tmpfs there if the root file system is read-only"
  done
  local password configuration=/etc/redis/redis.conf memory=${REDIS_MAXMEMORY:-}
  take_password
  shift
  case ${1:-} in '' | --*) ;; *) configuration=$1 && shift ;; esac
  check_data
  keep_others_out
  settle "$configuration" "$@"
  write_password
  unset password
  umask 0077
  exec redis-server "$configuration" --include /run/redis/password.conf \
    ${memory:+--maxmemory "$memory"} "$@"
}

main "$@"
