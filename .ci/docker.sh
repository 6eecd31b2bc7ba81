# shellcheck shell=bash
# Docker for .ci/run: found running, or installed from Debian's packages and started; and the programs that tests run
# beside it. Sourced.

: "${logs:?a folder for logs}" "${COMPOSE_PROJECT_NAME:?}" "${BELUGA_TEST_LABEL:?}"
dockerd_pid=""
compose=(build/docker-compose)
if docker compose version >/dev/null 2>&1; then
  compose=(docker compose)
fi

docker_answers() {
  docker info >/dev/null 2>&1
}

# Docker, debootstrap for base images that cannot be pulled, redis-server for the stores of memories, and shellcheck
# for make check.
install_packages() {
  local package missing=() root=()
  local -A program=([docker.io]=dockerd [iptables]=iptables [debootstrap]=debootstrap [redis-server]=redis-server
    [shellcheck]=shellcheck)
  for package in "${!program[@]}"; do
    # Where Docker runs already, however it came here, it is not replaced.
    if [[ $package == docker.io || $package == iptables ]] && docker_answers; then
      continue
    fi
    PATH=$PATH:/usr/sbin:/sbin command -v "${program[$package]}" >/dev/null || missing+=("$package")
  done
  if [[ ${#missing[@]} -eq 0 ]]; then
    return
  fi
  if ! command -v apt-get >/dev/null; then
    fail "missing: ${missing[*]}, and there is no apt-get to install them"
  fi
  if [[ $EUID -ne 0 ]]; then
    root=(sudo -n)
  fi
  say "installing ${missing[*]}"
  if ! {
    "${root[@]}" apt-get update -qq \
      && "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}"
  } >"$logs/apt.log" 2>&1; then
    tail -n 20 "$logs/apt.log" >&2
    fail "apt-get could not install ${missing[*]}"
  fi
}

# What one test opens a page in. Where it cannot be had that test is skipped, and the report says so.
install_browser() {
  local root=()
  if command -v chromium-headless-shell chromium google-chrome >/dev/null || ! command -v apt-get >/dev/null; then
    return
  fi
  [[ $EUID -eq 0 ]] || root=(sudo -n)
  say "installing Chromium"
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends chromium-headless-shell >"$logs/chromium.log" 2>&1 \
    || say "Chromium cannot be had: the test with a browser is skipped"
}

# Debian's Prometheus, unpacked: installed, it would be a service that starts by itself.
install_prometheus() {
  local folder=$PWD/build/prometheus
  export BELUGA_PROMETHEUS=${BELUGA_PROMETHEUS:-$(command -v prometheus || echo "$folder/usr/bin/prometheus")}
  if [[ -x $BELUGA_PROMETHEUS ]]; then
    return
  fi
  command -v apt-get >/dev/null || fail "missing: prometheus, and there is no apt-get to fetch it"
  say "fetching Prometheus"
  rm -rf "$folder" && mkdir -p "$folder"
  if ! fetch_package prometheus "$folder" >"$logs/prometheus.log" 2>&1; then
    tail -n 20 "$logs/prometheus.log" >&2
    fail "apt-get could not fetch prometheus"
  fi
}

fetch_package() ( # package, folder for its files
  cd "$2" || exit 1
  apt-get download -qq "$1" || {
    if [[ $EUID -eq 0 ]]; then apt-get update -qq; else sudo -n apt-get update -qq; fi
    apt-get download -qq "$1"
  } || exit 1
  dpkg-deb --extract "$1"_*.deb . && rm -f "$1"_*.deb
)

start_docker() {
  if docker_answers; then
    say "Docker is running already"
    return
  fi
  [[ $EUID -eq 0 ]] || fail "Docker does not run, and only root can start it"
  say "starting dockerd"
  # A session of its own: Ctrl-C must reach .ci/run, which stops containers first and dockerd last.
  PATH=$PATH:/usr/sbin:/sbin setsid dockerd >"$logs/dockerd.log" 2>&1 </dev/null &
  dockerd_pid=$!
  local _
  for _ in {1..120}; do
    docker_answers && return
    kill -0 "$dockerd_pid" 2>/dev/null || break
    sleep 0.5
  done
  tail -n 30 "$logs/dockerd.log" >&2
  fail "Docker cannot be had on this machine: dockerd did not start (its last words are above)"
}

# Everything that this run started, and nothing else.
stop_docker() {
  if docker_answers; then
    "${compose[@]}" --profile '*' down --volumes --timeout 10 >/dev/null 2>&1 || true
    local left
    left=$(docker ps --all --quiet --filter label=beluga.test="$BELUGA_TEST_LABEL" 2>/dev/null || true)
    if [[ -n $left ]]; then
      # shellcheck disable=SC2086 # several ids
      docker rm --force --volumes $left >/dev/null 2>&1 || true
    fi
  fi
  if [[ -n $dockerd_pid ]]; then
    kill "$dockerd_pid" 2>/dev/null || true
    wait "$dockerd_pid" 2>/dev/null || true
    dockerd_pid=""
  fi
}
