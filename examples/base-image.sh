#!/usr/bin/env bash
# Base images from Debian's packages, for machines where no registry answers. Writes the files of one as a tar:
#
#   examples/base-image.sh debian    | dray import -c 'CMD ["bash"]'    - debian:bookworm-slim
#   examples/base-image.sh node      | dray import -c 'CMD ["node"]'    - node:18-bookworm
#   examples/base-image.sh node-slim | dray import -c 'CMD ["node"]'    - node:18-bookworm-slim
#   examples/base-image.sh python    | dray import -c 'CMD ["python3"]' - python:3.11-slim-bookworm
#
# Further packages may follow the name.
#
#   debian     a minimal Debian with apt
#   node       Node.js and npm, to build with; the user `node`
#   node-slim  Node.js alone, to run; the user `node`
#   python     Python with venv and pip in it
#
# It takes the release that this machine runs and this machine's own apt sources, and needs mmdebstrap and root.
# The tests make their images with it as well.
set -euo pipefail

packages=() options=()
case "${1:-}" in
debian) ;;
node) packages=(nodejs npm ca-certificates) ;;
node-slim) packages=(nodejs ca-certificates) ;;
python) packages=(python3-venv python-is-python3 ca-certificates) ;;
*)
    echo "usage: $0 debian|node|node-slim|python [PACKAGE...] > rootfs.tar" >&2
    exit 2
    ;;
esac
packages+=("${@:2}")
case "$1" in
node*) options=(--customize-hook='chroot "$1" useradd --uid 1000 --user-group --create-home --shell /bin/bash node') ;;
esac

# Debian's own sources, not those of others that this machine may have beside them.
sources=()
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
    case "$file" in
    */sources.list | */debian.sources) [ -s "$file" ] && sources+=("$file") ;;
    *) grep -qs debian-archive-keyring "$file" && sources+=("$file") ;;
    esac
done
if [ "${#sources[@]}" = 0 ]; then
    echo "$0: no apt sources of Debian under /etc/apt" >&2
    exit 1
fi

# Behind some proxies, apt loses answers to requests that it sends ahead, and waits for ever.
. /etc/os-release
[ "${#packages[@]}" = 0 ] || options+=(--include="$(IFS=,; echo "${packages[*]}")")
exec mmdebstrap --variant=minbase --format=tar --quiet "${options[@]}" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --aptopt='Acquire::Languages "none"' \
    --aptopt='Acquire::http::Pipeline-Depth "0"' --aptopt='Acquire::Retries "3"' \
    "${VERSION_CODENAME:-bookworm}" - "${sources[@]}"
