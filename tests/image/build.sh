#!/usr/bin/env bash
# Builds the serving image: by docker or podman, or without a daemon by buildah as root.
#   IMAGE  its name                         TARGET  serving or training
#   BASE   an image with Python 3.11 and its venv; without one and without a registry at
#          hand buildah makes it by debootstrap, of Debian bookworm
set -euo pipefail
cd "$(dirname "$0")/../.."
IMAGE=${IMAGE:-flipside-serving} TARGET=${TARGET:-serving}
arguments=(--target "$TARGET" -t "$IMAGE")

for engine in docker podman; do
    if command -v $engine > /dev/null && $engine info > /dev/null 2>&1; then
        [ -z "${BASE:-}" ] || arguments+=(--build-arg "BASE=$BASE")
        exec $engine build "${arguments[@]}" .
    fi
done

command -v buildah > /dev/null || {
    echo "no docker or podman runs here, and buildah is not installed: apt-get install" \
        "buildah debootstrap" >&2
    exit 3
}
buildah=(buildah --storage-driver vfs)
if [ -z "${BASE:-}" ]; then
    BASE=localhost/flipside-base
    if ! "${buildah[@]}" inspect --type image "$BASE" > /dev/null 2>&1; then
        root=$(mktemp -d)
        trap 'rm -rf "$root"' EXIT
        debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
            bookworm "$root" > /dev/null
        # What apt fetched is no part of an image.
        rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
        container=$("${buildah[@]}" from scratch)
        "${buildah[@]}" add --quiet "$container" "$root" /
        "${buildah[@]}" commit --quiet --rm "$container" "$BASE"
    fi
fi
# The machine's certificates and pip's settings, for the time of building alone.
settings=$(mktemp)
trap 'rm -rf "$settings" "${root:-}"' EXIT
bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
{
    printf '[global]\ncert = /etc/ssl/certs/host.crt\n'
    index=$(python3 -m pip config get global.index-url 2> /dev/null || true)
    [ -z "$index" ] || printf 'index-url = %s\n' "$index"
} > "$settings"
chmod 644 "$settings"
"${buildah[@]}" bud --format docker --isolation chroot --build-arg "BASE=$BASE" \
    --volume "$settings:/etc/pip.conf:ro" --volume "$bundle:/etc/ssl/certs/host.crt:ro" \
    "${arguments[@]}" .
