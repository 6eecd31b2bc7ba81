#!/usr/bin/env bash
# Makes sure that images are here: pulls them, and where that is not possible builds a stand-in under the same
# name. Usage: deploy/images.sh [--build] kafka|python|beluga|temporal|prometheus|jaeger|grafana ...
#   --build   do not try to pull
# Image names come from KAFKA_IMAGE, PYTHON_IMAGE, BELUGA_IMAGE and so on, as in docker-compose.yml. Of Grafana there is no
# stand-in: where it cannot be pulled that is said, and the others are built all the same.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(dirname "$here")
kafka_image=${KAFKA_IMAGE:-apache/kafka:4.1.0}
python_image=${PYTHON_IMAGE:-python:3.12-slim}
beluga_image=${BELUGA_IMAGE:-beluga-stream:latest}
temporal_image=${TEMPORAL_IMAGE:-temporalio/temporal:1.9.1}
prometheus_image=${PROMETHEUS_IMAGE:-prom/prometheus:v3.6.0}
jaeger_image=${JAEGER_IMAGE:-jaegertracing/jaeger:2.13.0}
grafana_image=${GRAFANA_IMAGE:-grafana/grafana:12.2.0}
debian_image=debian:bookworm-slim
pull=yes

# Docker's classic builder is all that a bare installation has.
docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0

say() { printf 'images: %s\n' "$*" >&2; }

build() { # arguments of docker build; quiet unless it fails
  local log
  log=$(mktemp)
  # The host's network: build steps then reach package registries however the host does.
  docker build --network host "$@" >"$log" 2>&1 || {
    tail -n 40 "$log" >&2
    rm -f "$log"
    say "docker build $* failed"
    return 1
  }
  rm -f "$log"
}

have() { # image: here already, or pulled
  if docker image inspect "$1" >/dev/null 2>&1; then
    return 0
  fi
  [[ $pull == yes ]] && timeout 300 docker pull -q "$1" >/dev/null 2>&1
}

debian() {
  have "$debian_image" && return
  say "building a stand-in for $debian_image with debootstrap"
  bash "$here/base/debian.sh" "$debian_image" >/dev/null
}

python() {
  have "$python_image" && return
  debian
  say "building a stand-in for $python_image"
  build -t "$python_image" --build-arg BASE_IMAGE="$debian_image" - <"$here/base/Dockerfile.python"
}

kafka() {
  have "$kafka_image" && return
  debian
  say "building a stand-in for $kafka_image from Apache Kafka's jars"
  local context
  context=$(mktemp -d)
  bash "$here/kafka/jars.sh" "$repo/build/kafka-jars"
  mkdir "$context/libs"
  cp "$repo"/build/kafka-jars/*.jar "$context/libs/"
  cp "$here"/kafka/{Dockerfile,entrypoint.sh,log4j2.properties} "$context/"
  build -t "$kafka_image" --build-arg BASE_IMAGE="$debian_image" "$context"
  rm -rf "$context"
}

beluga() { # always built: layers that did not change come from Docker's cache
  python
  say "building $beluga_image"
  build -t "$beluga_image" --build-arg BASE_IMAGE="$python_image" \
    --build-arg EXTRAS="${EXTRAS:-demo,http,observability,rocksdb,temporal}" "$repo"
}

temporal() {
  have "$temporal_image" && return
  python
  say "building a stand-in for $temporal_image"
  build -t "$temporal_image" --build-arg BASE_IMAGE="$python_image" -f "$here/temporal/Dockerfile" "$repo"
}

prometheus() {
  have "$prometheus_image" && return
  debian
  say "building a stand-in for $prometheus_image"
  build -t "$prometheus_image" --build-arg BASE_IMAGE="$debian_image" - <"$here/prometheus/Dockerfile"
}

jaeger() {
  have "$jaeger_image" && return
  debian
  say "building a stand-in for $jaeger_image from its Go module: minutes, the first time"
  bash "$here/jaeger/build.sh" "$repo/build/jaeger"
  local context
  context=$(mktemp -d)
  cp "$repo/build/jaeger" "$context/"
  build -t "$jaeger_image" --build-arg BASE_IMAGE="$debian_image" -f "$here/jaeger/Dockerfile" "$context"
  rm -rf "$context"
}

grafana() {
  have "$grafana_image" || say "$grafana_image is not here and cannot be pulled: go without it"
}

for what in "$@"; do
  case $what in
    --build) pull=no ;;
    kafka | python | beluga | debian | temporal | prometheus | jaeger | grafana) "$what" ;;
    *)
      say "unknown image: $what"
      exit 2
      ;;
  esac
done
