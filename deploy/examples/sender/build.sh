#!/usr/bin/env bash
# Build the image of the sender: build.sh [NAME:TAG], by default peekaping-sender:latest.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
image=${1:-peekaping-sender:latest}

docker build --tag peekaping-producer:latest --file "$root/deploy/Dockerfile" "$root"
docker build --tag "$image" "$here"
echo "Built $image"
