#!/usr/bin/env bash
# Build the image of the sender: build.sh [NAME:TAG], by default peekaping-sender:latest. BASE names the image of the
# producer, which is built first.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
root=$(cd "$here/../../.." && pwd)
image=${1:-peekaping-sender:latest}
base=${BASE:-peekaping-producer:latest}

docker build --tag "$base" --file "$root/deploy/Dockerfile" "$root"
docker build --tag "$image" --build-arg "BASE=$base" "$here"
echo "Built $image"
