#!/usr/bin/env bash
# Builds the image given (debian:bookworm-slim) with debootstrap, for machines that can pull no image.
# Needs root and the Debian package debootstrap; packages come from debootstrap's own mirror.
set -euo pipefail

image=${1:-debian:bookworm-slim}
command -v debootstrap >/dev/null || {
  echo "deploy/base/debian.sh: debootstrap is not installed (apt-get install debootstrap)" >&2
  exit 1
}
root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
debootstrap --variant=minbase bookworm "$root" >"$root.log" 2>&1 || {
  tail -n 20 "$root.log" >&2
  exit 1
}
rm -f "$root.log"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*

changes=(--change 'CMD ["bash"]')
# A machine whose traffic is inspected has a certificate bundle of its own, which pip inside the image needs
# too. It is copied only into this local stand-in, to a path that no package overwrites.
host_bundle=/etc/ssl/certs/ca-certificates.crt
if [[ -f $host_bundle ]]; then
  bundle=/usr/local/share/host-ca/bundle.crt
  install -D -m 0644 "$host_bundle" "$root$bundle"
  for name in SSL_CERT_FILE PIP_CERT REQUESTS_CA_BUNDLE; do
    changes+=(--change "ENV $name=$bundle")
  done
fi
tar -C "$root" -c . | docker import "${changes[@]}" - "$image"
