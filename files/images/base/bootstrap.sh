#!/bin/bash
# bootstrap.sh [--install] [--output FILE] REFERENCE [LABEL=VALUE...]
#
# Makes the image REFERENCE, a minimal Debian 13 to start FROM, out of Debian's archive: needs apt,
# mmdebstrap, root and a Docker engine, and no registry. The archive, its security suite, the
# keyring and the proxy are those of this machine's own apt configuration, so a host with a mirror
# stays on it, and so do its images.
#
#   --install      install mmdebstrap if it is missing
#   --output FILE  only write the archive of the root file system, import nothing
#
# The same archive state gives the same layer, bit for bit: all times are cut at SOURCE_DATE_EPOCH,
# by default the date of the archive's own index.
set -euo pipefail

suite=trixie
# What Debian's own slim image has beyond apt and people's Dockerfiles rely on.
packages=passwd,tzdata
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

die() {
  printf 'bootstrap.sh: %s\n' "$1" >&2
  exit 1
}

install_missing=no output=
while [ $# -gt 0 ]; do
  case $1 in
    --install) install_missing=yes ;;
    --output) output=${2:?--output needs a file} && shift ;;
    -*) die "unknown option $1" ;;
    *) break ;;
  esac
  shift
done
[ -n "$output" ] || [ $# -gt 0 ] || die 'usage: bootstrap.sh [--install] [--output FILE] REFERENCE'

if ! command -v mmdebstrap > /dev/null; then
  [ "$install_missing" = yes ] || die 'mmdebstrap is missing: apt-get install mmdebstrap'
  echo 'installing mmdebstrap'
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends mmdebstrap \
    debian-archive-keyring > /dev/null
fi

# targets: one line "address label suite" for each Debian index that apt knows.
targets() {
  # shellcheck disable=SC2016 # apt fills these in
  apt-get indextargets --format '$(REPO_URI)|$(ORIGIN)|$(LABEL)|$(RELEASE)|$(COMPONENT)' \
    'Created-By: Packages' |
    awk -F'|' '$2 == "Debian" && $5 == "main" { sub("/$", "", $1); print $1, $3, $4 }'
}

known=$(targets)
if [ -z "$known" ]; then
  apt-get -qq update
  known=$(targets)
fi
# Backports carry a label of their own, so these are the archive and its security suite.
main=$(awk '$2 == "Debian" { print $1; exit }' <<< "$known")
security=$(awk '$2 == "Debian-Security" { print $1; exit }' <<< "$known")
[ -n "$main" ] || die "apt on this machine knows no archive of Debian: add one to /etc/apt"
[ -n "$security" ] || die "apt on this machine knows no security suite of Debian: add one to \
/etc/apt, an image without security updates is not what anybody wants"

for address in "$main" "$security"; do
  case $address in
    *://*@*) die "the address of apt's archive holds a password, which would end up in the image: \
move it to /etc/apt/auth.conf" ;;
    https://*) packages=passwd,tzdata,ca-certificates ;;
    http://*) ;;
    *) die "$address cannot be reached from inside a container: use an http or https mirror" ;;
  esac
done

# newest_index: when the archive wrote its index (seconds), as apt has it on this machine.
newest_index() {
  local file date newest=0 seconds
  for file in /var/lib/apt/lists/*_dists_"$suite"*_{In,}Release; do
    [ -r "$file" ] || continue
    date=$(sed -n 's/^Date: //p' "$file" | head -1)
    seconds=$(date --date="$date" +%s)
    [ "$seconds" -le "$newest" ] || newest=$seconds
  done
  # A machine of another release has no index of this one: take the day.
  [ "$newest" -gt 0 ] || newest=$(($(date +%s) / 86400 * 86400))
  echo "$newest"
}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(newest_index)}

# Programs of the new system run in here, and hardened machines mount /tmp and /var/tmp noexec.
scratch=/var/lib
[ -w "$scratch" ] || scratch=${TMPDIR:-/tmp}
work=$(mktemp --directory "$scratch/bootstrap.XXXXXX")
trap 'rm -rf "$work"' EXIT
# apt's own user has to reach it.
chmod 0755 "$work"
export TMPDIR=$work

cat > "$work/debian.sources" << SOURCES
Types: deb
URIs: $main
Suites: $suite $suite-updates
Components: main
Signed-By: $keyring

Types: deb
URIs: $security
Suites: $suite-security
Components: main
Signed-By: $keyring
SOURCES

options=(--variant=apt "--include=$packages" --format=tar)
for path in doc man locale info lintian; do
  options+=("--dpkgopt=path-exclude=/usr/share/$path/*")
done
options+=('--dpkgopt=path-include=/usr/share/doc/*/copyright')
# Smaller downloads in every build, no package files left in a layer, and no service started by a
# package's installation.
options+=('--aptopt=Acquire::Languages "none"' '--aptopt=Acquire::GzipIndexes "true"')
# shellcheck disable=SC2016 # mmdebstrap runs these in its own shell
options+=(
  --customize-hook='echo "DPkg::Post-Invoke { \"rm -f /var/cache/apt/archives/*.deb || true\"; };
Dir::Cache::pkgcache \"\"; Dir::Cache::srcpkgcache \"\";" > "$1/etc/apt/apt.conf.d/docker-clean"'
  --customize-hook='printf "#!/bin/sh\nexit 101\n" > "$1/usr/sbin/policy-rc.d"'
  --customize-hook='chmod 0755 "$1/usr/sbin/policy-rc.d"'
  --customize-hook='rm -rf "$1/etc/apt/sources.list" "$1/etc/apt/sources.list.d/"*'
  --customize-hook='rm -rf "$1/var/log/"* "$1/var/cache/ldconfig" "$1/var/cache/apt/"*.bin'
  --customize-hook='rm -rf "$1/etc/resolv.conf" "$1/etc/hostname"'
  --customize-hook="copy-in $work/debian.sources /etc/apt/sources.list.d"
)
# A proxy that apt needs here, builds need as well.
eval "$(apt-config shell http_proxy_apt Acquire::http::Proxy https_proxy_apt Acquire::https::Proxy)"
for scheme in http https; do
  proxy=${scheme}_proxy_apt
  [ -z "${!proxy:-}" ] || options+=("--aptopt=Acquire::$scheme::Proxy \"${!proxy}\"")
done

echo "bootstrapping Debian $suite from $main"
archive=${output:-$work/root.tar}
# Apart: it makes all mounts of where it runs private, and systemd hands services their credentials
# by mounts that it shares.
unshare --mount mmdebstrap --quiet "${options[@]}" "$suite" "$archive" \
  "deb [signed-by=$keyring] $main $suite main" \
  "deb [signed-by=$keyring] $main $suite-updates main" \
  "deb [signed-by=$keyring] $security $suite-security main"
[ -z "$output" ] || exit 0

echo "importing $1"
changes=(--change 'CMD ["bash"]')
for label in "${@:2}"; do
  changes+=(--change "LABEL $label")
done
docker import "${changes[@]}" "$archive" "$1"
