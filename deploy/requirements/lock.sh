#!/bin/sh
# Writes deploy/requirements/NAME.txt, for NAME such as serving-cpu; `make lock` calls it.
set -eu
cd "$(dirname "$0")/../.."
name=$1 program=${1%-*} runtime=${1##*-}
case $name in
    mlflow) set -- deploy/requirements/mlflow.in ;;
    serving-*) set -- pyproject.toml deploy/requirements/build.in --extra fast ;;
    compare-*) set -- pyproject.toml deploy/requirements/build.in --extra serving ;;
    *) set -- pyproject.toml deploy/requirements/build.in ;;
esac
[ "$name" = mlflow ] || set -- "$@" --extra "$program" --extra "$runtime"
exec build/tools/bin/uv pip compile --quiet --universal --python-version 3.11 \
    --generate-hashes --no-emit-index-url \
    --custom-compile-command "make lock" --output-file "deploy/requirements/$name.txt" "$@"
