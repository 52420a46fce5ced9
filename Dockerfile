# The service, without torch. BASE is any image with Python 3.11 or newer and its venv.
#   docker build --target serving -t flipside-serving .
#   docker run -p 8000:8000 -v "$PWD:/store:ro" flipside-serving
# /store is the folder that holds mlflow.db and mlruns/.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY classifier classifier
COPY training training
COPY serving serving
COPY compare compare
# onnxruntime for CPUs; `--build-arg RUNTIME=gpu` for CUDA.
ARG RUNTIME=cpu
RUN python3 -m venv /opt/flipside \
 && /opt/flipside/bin/pip install --no-cache-dir ".[serving,${RUNTIME}]"

FROM ${BASE} AS serving
COPY --from=build /opt/flipside /opt/flipside
ENV MLFLOW_TRACKING_URI=sqlite:////store/mlflow.db \
    PYTHONDONTWRITEBYTECODE=1 \
    SERVING_HOST=0.0.0.0
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
ENTRYPOINT ["/opt/flipside/bin/python", "-m", "serving"]
