# Training: contract and training on TensorFlow. Images, runs and weights are mounted; the container is the command.
#   docker build -f docker/training.Dockerfile -t hal-cells:training .
#   docker run --rm -v "$PWD:/work" -u "$(id -u):$(id -g)" hal-cells:training train hal-c3003-cpu --data open.csv --run runs/first
# For a GPU build with --build-arg ACCELERATOR=and-cuda and run with --gpus all.
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS build
# "and-cuda" adds NVIDIA's wheels that TensorFlow's own release asks for; they are not in the lock file.
ARG ACCELERATOR=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN python -m venv --without-pip /opt/hal
WORKDIR /build
COPY locks/training.txt locks/
RUN pip --python /opt/hal/bin/python install --only-binary :all: --require-hashes -r locks/training.txt \
 && if [ -n "$ACCELERATOR" ]; then \
      pip --python /opt/hal/bin/python install --only-binary :all: \
        "tensorflow[$ACCELERATOR]==$(sed -n 's/^tensorflow==\([^ ;]*\).*/\1/p' locks/training.txt | head -n 1)"; \
    fi
COPY pyproject.toml README.md LICENSE hal.py ./
COPY contract contract
COPY training training
RUN pip --python /opt/hal/bin/python install --no-deps .

FROM python:${PYTHON_VERSION}-slim
LABEL org.opencontainers.image.title="hal-cells-training" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/hal /opt/hal
COPY LICENSE /opt/hal/
ENV PATH=/opt/hal/bin:$PATH ORT_DISABLE_TELEMETRY=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib TF_CPP_MIN_LOG_LEVEL=2 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /work
ENTRYPOINT ["hal"]
CMD ["--help"]
