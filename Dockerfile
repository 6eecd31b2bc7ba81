# The image of every role: coordinator, workers and ingest differ by BELUGA_ROLE only.
#
#   docker build -t beluga-stream .          (make image: also where no base image can be pulled)
ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS build
# What the deployment's agents/ need on top; `demo` is for those of this repository (scipy, 110 MB).
ARG EXTRAS=demo,encryption,http,observability,rocksdb
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/beluga
ENV PATH=/opt/beluga/bin:$PATH
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
# Packages first, from an empty project: this layer stays while only our own code changes. The build backend
# is pinned like the rest, hence no isolation.
RUN mkdir beluga_stream && touch beluga_stream/__init__.py \
 && pip install -c constraints.txt hatchling \
 && pip install -c constraints.txt --no-build-isolation ".[${EXTRAS}]" \
 && pip uninstall -y beluga-stream
COPY beluga_stream beluga_stream
RUN pip install --no-deps --no-build-isolation . \
 && pip uninstall -y hatchling pip

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="beluga-stream" \
      org.opencontainers.image.licenses="Apache-2.0"
# A fixed id, so that an owner of volumes can be named; no shell, no home, no way to become root.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin beluga \
 && mkdir -p /app/agents /app/topics /var/lib/beluga/blobs \
 && chown -R beluga /var/lib/beluga
COPY --from=build /opt/beluga /opt/beluga
COPY deploy/healthcheck.py /opt/beluga/
ENV PATH=/opt/beluga/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    BELUGA_AGENTS=/app/agents \
    BELUGA_TOPICS=/app/topics \
    BELUGA_BLOBS=/var/lib/beluga/blobs \
    BELUGA_DATA=/var/lib/beluga/data
# /app is where agents/ and topics/ are mounted, or copied by an image built from this one.
WORKDIR /var/lib/beluga
USER beluga
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/opt/beluga/healthcheck.py"]
CMD ["faust", "-A", "beluga_stream", "worker", "-l", "info"]
