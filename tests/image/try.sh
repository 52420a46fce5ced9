#!/usr/bin/env bash
# Starts the serving image, posts a JPEG, tells it to stop, and looks how it ends: with a
# root that cannot be written, as a user that is not root, as process 1.
#   IMAGE  its name        STORE  a folder with mlflow.db and mlruns/; made if there is none
set -euo pipefail
cd "$(dirname "$0")/../.."
IMAGE=${IMAGE:-flipside-serving} PORT=${PORT:-8123} PYTHON=$(realpath -s "${PYTHON:-.venv/bin/python}")
work=$(mktemp -d)
trap '[ $? = 0 ] || tail -30 "$work/err" >&2; kill -KILL "${service:-}" 2> /dev/null || true
      rm -rf "$work"; [ -z "${container:-}" ] || "${buildah[@]}" rm "$container" > /dev/null' EXIT

if [ -z "${STORE:-}" ]; then
    STORE=$work/store
    mkdir "$STORE"
    (cd "$STORE" && PYTHONPATH=$OLDPWD MLFLOW_TRACKING_URI=sqlite:///mlflow.db \
        "$PYTHON" -m training --data digits --arch tiny --epochs 2 --image-size 16)
fi
chmod -R a+rX "$work"
$PYTHON -c "from PIL import Image; Image.new('RGB', (64, 64), 'red').save('$work/x.jpg')"

start() {
    for engine in docker podman; do
        if command -v $engine > /dev/null && $engine info > /dev/null 2>&1; then
            exec $engine run --rm --init=false --read-only --tmpfs /tmp \
                -p "127.0.0.1:$PORT:8000" -v "$STORE:/store:ro" "$IMAGE" --drain-seconds 2
        fi
    done
    # The root bound read-only, a /tmp of its own, namespaces of its own: what an engine does.
    exec unshare --mount --pid --fork --kill-child=SIGKILL bash -euc '
        mount --make-rprivate /
        mount --bind "$1" "$1"
        mkdir -p "$1/store"
        mount --bind "$2" "$1/store"
        mount -o remount,bind,ro "$1/store"
        mount -t tmpfs tmpfs "$1/tmp"
        mount --rbind /dev "$1/dev" # engines, too, give it a /dev/shm
        mount -t proc proc "$1/proc"
        mount -o remount,bind,ro "$1"
        exec chroot --userspec=10001:10001 "$1" /usr/bin/env -i \
            MLFLOW_TRACKING_URI=sqlite:////store/mlflow.db PYTHONDONTWRITEBYTECODE=1 \
            HOME=/tmp SERVING_PORT='"$PORT"' /opt/flipside/bin/python -m serving --drain-seconds 2
    ' _ "$root" "$STORE"
}
buildah=(buildah --storage-driver vfs)
if ! { docker info || podman info; } > /dev/null 2>&1; then
    container=$("${buildah[@]}" from "$IMAGE")
    root=$("${buildah[@]}" mount "$container")
fi
MOST_MB=700
if [ -n "${root:-}" ]; then
    bytes=$(du -sxb "$root" | cut -f 1)
    [ ! -e "$root/usr/bin/gcc" ] || { echo "the image has a compiler" >&2; exit 1; }
    ls "$root"/opt/flipside/lib/python3*/site-packages/gunicorn_h1c/*.so > /dev/null
else
    bytes=$( (docker image inspect -f '{{.Size}}' "$IMAGE" \
        || podman image inspect -f '{{.Size}}' "$IMAGE") 2> /dev/null | tail -n 1)
fi
[ "$bytes" -lt $((MOST_MB * 1000000)) ] || {
    echo "the image has $((bytes / 1000000)) MB, more than $MOST_MB" >&2
    exit 1
}
echo "the image has $((bytes / 1000000)) MB"
start > "$work/out" 2> "$work/err" &
service=$!

for _ in $(seq 300); do
    grep -q "serving on" "$work/out" && break
    kill -0 $service || { cat "$work/err"; exit 1; }
    sleep 0.2
done
cat "$work/out"
inner=$(pgrep -o -f '^/opt/flipside/bin/python -m serving')
user=$(awk '/^Uid:/ {print $2}' "/proc/$inner/status")
[ "$user" = 10001 ] || { echo "it runs as user $user, not 10001" >&2; exit 1; }
number=$(awk '/^NSpid:/ {print $NF}' "/proc/$inner/status")
if [ "$(readlink "/proc/$inner/ns/pid")" != "$(readlink /proc/self/ns/pid)" ]; then
    [ "$number" = 1 ] || { echo "it is process $number, not 1" >&2; exit 1; }
fi
# Options of its root, the fifth field being where it is mounted (proc(5)).
options=$(awk '$5 == "/" {print $6}' "/proc/$inner/mountinfo" | tail -n 1)
[[ ",$options," == *,ro,* ]] || { echo "its root can be written: $options" >&2; exit 1; }
echo "user $user, process $number, root $options"
curl -fsS -F "image=@$work/x.jpg" "127.0.0.1:$PORT/predict?top_k=2"
echo
kill -TERM "$inner"
until [ "$(curl -s -o /dev/null -w '%{http_code}' "127.0.0.1:$PORT/readyz")" != 200 ]; do :; done
curl -fsS -F "image=@$work/x.jpg" "127.0.0.1:$PORT/predict?top_k=1" > /dev/null
echo "draining: /readyz says no, /predict still answers"
wait $service
echo "ended with $?"
service=
