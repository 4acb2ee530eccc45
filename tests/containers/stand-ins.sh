#!/usr/bin/env bash
# Build stand-ins for the base images that the Dockerfile and the compose file name, where no registry of images can be
# reached: stand-ins.sh DIR, with DOCKER_HOST of an engine of our own, as root on Debian. Three minutes the first time.
#
# They have the same names and tags, and are made of Debian 13's own packages. So they show that our files build and run
# together, and not what the official images do differently (musl in the Alpine ones, their entrypoints' other options).
set -euo pipefail
cd "$(dirname "$0")/stand-ins"
dir=$1
base=python:3.13-slim-trixie

has() { docker image inspect "$1" >/dev/null 2>&1; }

quietly() { # a command's output is shown only when it fails
    local output
    output=$("$@" 2>&1 </dev/null) || { printf '%s\n' "$output" >&2; exit 1; }
}

mirror() { # of this machine's own apt
    # shellcheck disable=SC2016  # apt's own names, not the shell's
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
        awk '$2 !~ /-/ && !found++ {print $1}'
}

import_base() {
    local root="$dir/base"
    echo "Making $base of Debian's packages"
    rm -rf "$root"
    quietly debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv,tzdata \
        trixie "$root" "$(mirror)"
    ln -s python3 "$root/usr/bin/python"
    rm "$root"/usr/lib/python3.*/EXTERNALLY-MANAGED
    # What this machine trusts, or a mirror of the package index that it reaches through a proxy is not trusted there.
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # no server is started when it is installed
    chmod 755 "$root/usr/sbin/policy-rc.d"
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/image"
    tar --directory "$root" --create . | docker import \
        --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
        --change 'ENV UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 PIP_DEFAULT_TIMEOUT=180' - "$base" >/dev/null
    rm -rf "$root"
}

build() { # TAG FOLDER
    echo "Making $1 of Debian's packages"
    quietly docker build --tag "$1" "$2"
}

get_compose() { # Debian 12 has version 1 only
    echo "Getting Docker Compose of Debian 13"
    mkdir -p "$dir/compose"
    quietly docker run --rm --volume "$dir/compose:/out" --workdir /out "$base" \
        sh -c 'apt-get update -qq && apt-get download -qq docker-compose'
    dpkg-deb --extract "$dir"/compose/docker-compose_*.deb "$dir/compose"
    install -D -m 755 "$dir/compose/usr/libexec/docker/cli-plugins/docker-compose" \
        "$DOCKER_CONFIG/cli-plugins/docker-compose"
    rm -rf "$dir/compose"
}

has "$base" || import_base
has redis:7.2-alpine || build redis:7.2-alpine redis
has postgres:17-alpine || build postgres:17-alpine postgres
has rabbitmq:4-management || build rabbitmq:4-management rabbitmq
docker compose version >/dev/null 2>&1 || get_compose
