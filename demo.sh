#!/usr/bin/env bash
# Trains 16 versions on handwritten digits, serves two of them, compares the two.
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '\n$ %s\n' "$*"; }

# Few images, a constant learning rate, no augmentation: the seed report's recipe in small.
# It learns them by heart, so the later version is not simply the better one.
set -- --data digits --recipe plain --per-class 15 --lr 0.01 --batch-size 32 --image-size 32
say python -m training "$@"
python -m training "$@"

say python -m serving --model digits-resnet18 --versions v8,v16 --port 0 --drain-seconds 0
coproc SERVICE { exec python -m serving --model digits-resnet18 --versions v8,v16 --port 0 --drain-seconds 0 2>demo-serving.log; }
service=$SERVICE_PID
trap 'kill "$service" 2>/dev/null && wait "$service" 2>/dev/null || true' EXIT
if ! read -r line <&"${SERVICE[0]}"; then
  echo "the service did not start; it said:" >&2
  cat demo-serving.log >&2
  exit 3
fi
echo "$line"
url="${line#serving on }"

image="${XDG_CACHE_HOME:-$HOME/.cache}/flipside/digits/val/7/digit_0912.png"
say curl -s -F image=@"$image" "'$url/predict?version=v8&version=v16&top_k=2'"
curl -sS -F image=@"$image" "$url/predict?version=v8&version=v16&top_k=2" | python -m json.tool --compact
say python -m compare --a v8 --b v16 --model digits-resnet18
python -m compare --a v8 --b v16 --model digits-resnet18 --url "$url"

cat <<EOF

The comparison: open compare-v8-v16/report.html in a browser (the numbers are in
summary.json, per_image.parquet and per_class.csv beside it)
The curves, versions, tags, aliases, and the comparison as a run:
  $ source .venv/bin/activate
  $ mlflow ui --workers 1        # then open http://127.0.0.1:5000
EOF
