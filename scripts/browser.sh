#!/bin/sh
# Sees to a Chromium for the tests of pages. In CI it is installed where that is possible; elsewhere only people install
# programs on their machine. Without one those tests are left out, and the run says so.
set -eu

for name in chromium chromium-browser google-chrome; do
    ! command -v "$name" >/dev/null || exit 0
done
if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    { apt-get -qq update && apt-get -qq install --no-install-recommends chromium; } >/dev/null 2>&1 || true
fi
command -v chromium >/dev/null ||
    echo "No Chromium here: the tests of pages in a browser are left out (Debian: apt-get install chromium)." >&2
