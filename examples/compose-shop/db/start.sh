#!/bin/sh
# Makes the database once, then becomes PostgreSQL. The password comes from a secret and is in no image.
set -eu
data=/var/lib/postgresql/data
if [ ! -s "$data/PG_VERSION" ]; then
    initdb -D "$data" --username=postgres --pwfile="$DB_PASSWORD_FILE" --auth-host=scram-sha-256 --auth-local=peer >/dev/null
    echo "host all all all scram-sha-256" >>"$data/pg_hba.conf"
    pg_ctl -D "$data" -w -s -o "-c listen_addresses=" start
    psql -q -v ON_ERROR_STOP=1 -v user="$DB_USER" -v name="$DB_NAME" -v password="$(cat "$DB_PASSWORD_FILE")" -f /init.sql
    pg_ctl -D "$data" -w -s -m fast stop
fi
exec postgres -D "$data" -c "listen_addresses=*"
