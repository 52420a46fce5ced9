#!/usr/bin/env bash
# Installs programs of Debian that tests/team runs. It starts none of them.
set -euo pipefail
PATH="$PATH:/usr/sbin"

missing=()
[ -x /usr/lib/postgresql/15/bin/postgres ] || missing+=(postgresql-15)
command -v nginx >/dev/null || missing+=(nginx)
command -v prometheus >/dev/null && command -v promtool >/dev/null || missing+=(prometheus)
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "the tests of a team's deployment need Debian's ${missing[*]}, and only root can" \
    "install packages; as root: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 3
fi
# RUNLEVEL=1: packages start no service now.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
