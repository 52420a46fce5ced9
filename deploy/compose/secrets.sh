#!/bin/sh
# Makes passwords and API keys for compose.yaml: .env and secrets/, once.
set -eu
cd "$(dirname "$0")"
if [ -e .env ] || [ -e secrets ]; then
    echo "$PWD has .env or secrets already; remove both for new ones" >&2
    exit 2
fi
umask 077
random() { od -An -N 24 -t x1 /dev/urandom | tr -d ' \n'; }
sha256() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }

mkdir secrets
while read -r line; do
    case $line in
        *=CHANGE-ME) echo "${line%CHANGE-ME}$(random)" ;;
        *) echo "$line" ;;
    esac
done < example.env > .env
for scope in predict admin; do
    key=$(random)
    echo "$key" > "secrets/$scope.key"
    echo "$scope $scope $(sha256 "$key")" >> secrets/keys.txt
done
key=$(random)
printf %s "$key" > secrets/prometheus.key
echo "prometheus predict $(sha256 "$key")" >> secrets/keys.txt
# These two are read in containers by other users; the folder is this user's alone.
chmod 644 secrets/keys.txt secrets/prometheus.key
echo "made .env and secrets/: predict.key is for those who ask, admin.key for operators"
