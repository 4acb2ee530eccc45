#!/usr/bin/env bash
# A Docker Engine of our own on Debian, without systemd, with all of its files below DIR: engine.sh start|stop DIR. As root.
set -euo pipefail
dir=$2

start() {
    # 9 is the lock of with-engine.sh, which must not outlive it.
    setsid dockerd --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid" --host "unix://$dir/docker.sock" \
        --default-ulimit nofile=1024:4096 >"$dir/log" 2>&1 </dev/null 9>&- &
    # Limits on open files: a machine without CAP_SYS_RESOURCE may only lower its own.
    for _ in $(seq 150); do
        docker --host "unix://$dir/docker.sock" info >/dev/null 2>&1 && return
        kill -0 $! 2>/dev/null || break
        sleep 0.2
    done
    echo "The Docker Engine does not start:" >&2
    tail -n 20 "$dir/log" >&2
    exit 1
}

stop() { # containers too: dockerd stops them first, and removes its pid file last
    [ -e "$dir/pid" ] && kill "$(cat "$dir/pid")" 2>/dev/null || return 0
    for _ in $(seq 300); do
        [ -e "$dir/pid" ] || return 0
        sleep 0.2
    done
    echo "The Docker Engine (process $(cat "$dir/pid")) does not stop." >&2
    exit 1
}

case $1 in
start)
    "$(dirname "$0")/../../deploy/ci-servers.sh" docker
    start
    ;;
stop) stop ;;
esac
