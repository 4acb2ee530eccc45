#!/usr/bin/env bash
# Run a command where Docker works: with-engine.sh COMMAND...
#
# A Docker that answers is used as it is, with the real images. Otherwise, as root on Debian 12, an engine of our own is
# started for the length of the command, with stand-ins for the base images (stand-ins.sh), since a machine without
# Docker is most often one that reaches no registry of images either. `with-engine.sh true` only prepares all that.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
dir=${CONTAINERS_DIR:-/var/cache/peekaping-producer-containers}

if docker info >/dev/null 2>&1; then
    exec "$@"
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "No Docker answers ('docker info'). Start it; or, as root on Debian 12, run this again: it starts one of its own." >&2
    exit 1
fi

install -d -m 700 "$dir"
exec 9>"$dir/lock"
flock 9
trap '"$here/engine.sh" stop "$dir"' EXIT
trap 'exit 130' INT TERM
"$here/engine.sh" start "$dir"
# The plugin `docker compose` is put beside the engine's data, not into this user's home.
export DOCKER_HOST="unix://$dir/docker.sock" DOCKER_CONFIG="$dir/config"
# Of a run that was killed: they would start with the engine.
docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes >/dev/null
"$here/stand-ins.sh" "$dir"
"$@"
