#!/bin/sh
# As in the official image: POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB are made in a new database, which listens on
# its Unix socket only until they are; that socket asks for no password.
set -e

as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }

make_database() {
    install -d -o postgres -m 700 "$PGDATA"
    as_postgres initdb --auth=trust >/dev/null
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    as_postgres pg_ctl --options="-c listen_addresses=''" --wait start
    user=${POSTGRES_USER:-postgres}
    as_postgres psql -v ON_ERROR_STOP=1 -v "user=$user" -v "password=$POSTGRES_PASSWORD" \
        -v "database=${POSTGRES_DB:-$user}" postgres <<'SQL'
SELECT format('CREATE ROLE %I SUPERUSER LOGIN', :'user')
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'user') \gexec
ALTER ROLE :"user" PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'user')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
SQL
    as_postgres pg_ctl --wait stop
}

[ "$1" = postgres ] || exec "$@"
[ -s "$PGDATA/PG_VERSION" ] || make_database
exec setpriv --reuid=postgres --regid=postgres --clear-groups "$@" -c listen_addresses='*'
