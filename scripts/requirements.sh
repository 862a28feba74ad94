#!/bin/sh
# Resolves requirements/*.in into pinned, hashed files that name no package index.
# Releases younger than a week are refused: most bad ones are found and withdrawn by then.
set -eu
cd "$(dirname "$0")/../requirements"
command -v uv >/dev/null || { echo "error: uv is needed: pip install uv" >&2; exit 1; }
resolve() {
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
        --exclude-newer "$(date -u -d '7 days ago' +%Y-%m-%d)" --custom-compile-command "make requirements" "$@"
}
resolve serve.in -o serve.txt
resolve dev.in -c serve.txt -o dev.txt
resolve ../benchmarks/peers/requirements.in -o ../benchmarks/peers/requirements.txt
resolve ../benchmarks/clients/requirements.in -o ../benchmarks/clients/requirements.txt
