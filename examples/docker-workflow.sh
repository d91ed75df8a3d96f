#!/usr/bin/env bash
# The five steps of daily work: build, run, list, look, stop. Works with Docker's client and with Dray's:
#   examples/docker-workflow.sh                 # with `docker`
#   DOCKER=dray examples/docker-workflow.sh     # with `dray`
# PORT (8080), NAME (webapp) and IMAGE (myapp:v1) may be set.
set -euo pipefail

docker=${DOCKER:-docker}
port=${PORT:-8080}
name=${NAME:-webapp}
image=${IMAGE:-myapp:v1}
context=${CONTEXT:-$(dirname "$0")/webapp}

trap '"$docker" rm -f "$name" >/dev/null 2>&1 || true' EXIT

echo "Building image $image…"
"$docker" build -t "$image" "$context"

echo "Starting container…"
id=$("$docker" run -d -p "$port:80" --name "$name" "$image")
echo "Container started: $name (id: ${id:0:12})"

"$docker" ps --filter "name=^/?$name$"

for _ in $(seq 100); do
    if answer=$(curl -fsS "http://localhost:$port/" 2>/dev/null); then break; fi
    sleep 0.1
done
echo "Application running at http://localhost:$port"
echo "It says: ${answer:?the application does not answer}"

echo "Its log:"
"$docker" logs "$name"

echo "Stopping…"
"$docker" stop "$name" >/dev/null
"$docker" rm "$name" >/dev/null
echo "Stopped and removed: $name"
