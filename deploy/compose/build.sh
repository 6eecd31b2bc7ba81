#!/usr/bin/env bash
# Builds docker compose v2 from its Go module into build/docker-compose (or the path given).
# About 100 s on two cores the first time, seconds with Go's cache.
set -euo pipefail

version=v2.40.3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$(realpath -m "${1:-$here/../../build/docker-compose}")
if [[ -x $target ]] && "$target" version --short 2>/dev/null | grep -qx "${version#v}"; then
  exit 0
fi
command -v go >/dev/null || {
  echo "deploy/compose/build.sh: Go is not installed; install it, or docker compose v2 itself" >&2
  exit 1
}
# The module is a throwaway: go.mod and go.sum are written in a temporary folder and forgotten.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/main.go" "$work/"
cd "$work"
go mod init beluga/compose 2>/dev/null
go get "github.com/docker/compose/v2@$version" 2>/dev/null
go mod tidy 2>/dev/null
mkdir -p "$(dirname "$target")"
go build -ldflags "-X github.com/docker/compose/v2/internal.Version=$version" -o "$target" \
  github.com/docker/compose/v2/cmd
