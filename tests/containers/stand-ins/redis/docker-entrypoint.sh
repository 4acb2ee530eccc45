#!/bin/sh
# As in the official image: redis-server runs as redis, and takes connections from other containers.
set -e
[ "$1" = redis-server ] || exec "$@"
shift
exec setpriv --reuid=redis --regid=redis --clear-groups redis-server --protected-mode no --bind '*' "$@"
