#!/bin/sh
# As in the official image: rabbitmq-server runs as rabbitmq, logs to stdout, and creates RABBITMQ_DEFAULT_USER (guest),
# RABBITMQ_DEFAULT_PASS and RABBITMQ_DEFAULT_VHOST in a new database.
set -e
[ "$1" = rabbitmq-server ] || exec "$@"
{
    echo "loopback_users = none"
    [ -z "$RABBITMQ_DEFAULT_USER" ] || echo "default_user = $RABBITMQ_DEFAULT_USER"
    [ -z "$RABBITMQ_DEFAULT_PASS" ] || echo "default_pass = $RABBITMQ_DEFAULT_PASS"
    [ -z "$RABBITMQ_DEFAULT_VHOST" ] || echo "default_vhost = $RABBITMQ_DEFAULT_VHOST"
} >/etc/rabbitmq/rabbitmq.conf
chown -R rabbitmq:rabbitmq /etc/rabbitmq /var/lib/rabbitmq
exec setpriv --reuid=rabbitmq --regid=rabbitmq --clear-groups \
    env HOME=/var/lib/rabbitmq RABBITMQ_LOGS=- /usr/lib/rabbitmq/bin/rabbitmq-server
