#!/usr/bin/env bash
# Builds Jaeger from its Go module into build/jaeger (or the path given). About ten minutes on two cores the first time,
# seconds with Go's cache.
set -euo pipefail

# Jaeger 2.13: its module still counts by the first series.
version=v1.76.0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$(realpath -m "${1:-$here/../../build/jaeger}")
if [[ -x $target ]] && grep -qx "$version" "$target.version" 2>/dev/null; then
  exit 0
fi
command -v go >/dev/null || {
  echo "deploy/jaeger/build.sh: Go is not installed; install it, or pull the image jaegertracing/jaeger" >&2
  exit 1
}
# The module is a throwaway: go.mod and go.sum are written in a temporary folder and forgotten.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
go mod init beluga/jaeger 2>/dev/null
go get -tool "github.com/jaegertracing/jaeger/cmd/jaeger@$version" 2>/dev/null
mkdir -p "$(dirname "$target")"
CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$target" github.com/jaegertracing/jaeger/cmd/jaeger
echo "$version" >"$target.version"
