# Three images: the service, without torch, the training, and compare. Libraries are those
# of deploy/requirements, by version and hash; `make lock` renews them.
#   docker build --target serving -t flipside-serving .
#   docker run --read-only --tmpfs /tmp -p 8000:8000 -v "$PWD:/store:ro" flipside-serving
#   docker build --target training -t flipside-training .
#   docker run --gpus all -v "$PWD:/store" flipside-training --data /store/my-images
# /store is the folder that holds mlflow.db and mlruns/. BASE is any image with Python 3.11
# or newer and its venv. `make image image-test` builds and tries the service, also where
# there is no container engine.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS source
WORKDIR /source
COPY deploy/requirements deploy/requirements
COPY pyproject.toml README.md LICENSE ./
COPY classifier classifier
COPY training training
COPY serving serving
COPY compare compare
RUN python3 -m venv /opt/flipside

FROM source AS build-serving
# onnxruntime for CPUs; `--build-arg RUNTIME=gpu` for CUDA.
ARG RUNTIME=cpu
# gunicorn's parser in C is compiled here; the compiler stays in this stage.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev
RUN /opt/flipside/bin/pip install --no-cache-dir --require-hashes \
      -r deploy/requirements/serving-${RUNTIME}.txt \
 && /opt/flipside/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && rm -rf /opt/flipside/lib/python3*/site-packages/pip

FROM source AS build-training
ARG RUNTIME=gpu
RUN /opt/flipside/bin/pip install --no-cache-dir --require-hashes \
      -r deploy/requirements/training-${RUNTIME}.txt \
 && /opt/flipside/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM source AS build-compare
RUN /opt/flipside/bin/pip install --no-cache-dir --require-hashes \
      -r deploy/requirements/compare-cpu.txt \
 && /opt/flipside/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM ${BASE} AS training
COPY --from=build-training /opt/flipside /opt/flipside
ENV MLFLOW_TRACKING_URI=sqlite:////store/mlflow.db \
    XDG_CACHE_HOME=/store/.cache \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /store
ENTRYPOINT ["/opt/flipside/bin/python", "-m", "training"]

FROM ${BASE} AS compare
COPY --from=build-compare /opt/flipside /opt/flipside
ENV HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["/opt/flipside/bin/python", "-m", "compare"]

FROM ${BASE} AS serving
COPY --from=build-serving /opt/flipside /opt/flipside
ENV MLFLOW_TRACKING_URI=sqlite:////store/mlflow.db \
    PYTHONDONTWRITEBYTECODE=1 \
    SERVING_HOST=0.0.0.0 \
    HOME=/tmp \
    SERVING_PORT=8000
# For a volume of downloaded versions: XDG_CACHE_HOME=/cache.
RUN install -d -o 10001 -g 10001 /cache
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["/opt/flipside/bin/python", "-c", \
  "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['SERVING_PORT']}/readyz\", timeout=2)"]
# Process 1 itself: SIGTERM reaches it, and it drains.
ENTRYPOINT ["/opt/flipside/bin/python", "-m", "serving"]
