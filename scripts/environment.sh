#!/bin/sh
# Makes .venv ready for its use: `serve` (what running needs) or `dev` (what tests need as well).
# Who made it, and where, is noted first; the stamp of the use is written last, so an interrupted installation is seen
# as such and made again.
set -eu

use=${1:-serve}
cd "$(dirname "$0")/.."
stamp=.venv/.ready-$use
made_by_make=.venv/.made-by-make

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }
wanted() { cat scripts/environment.sh "requirements/$use.txt" packages/*/pyproject.toml | cksum; }

if [ -f "$stamp" ] && [ -x .venv/bin/python ] && [ "$(cat "$stamp")" = "$(wanted)" ] &&
    [ "$(cat "$made_by_make" 2>/dev/null)" = "$(pwd -P)" ]; then
    exit 0
fi

new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
python=
found=
look_at() {
    version=$("$1" -c 'import platform; print(platform.python_version())' 2>/dev/null) || return 1
    if "$1" -c "$new_enough" 2>/dev/null; then
        python=$1
    else
        found="${found:+$found, }$1 is $version"
        return 1
    fi
}
if [ -n "${PYTHON:-}" ]; then
    look_at "$PYTHON" || true
else
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        look_at "$candidate" && break
    done
fi
[ -n "$python" ] || fail "Python 3.11 or newer is needed (${found:-none found${PYTHON:+ at $PYTHON}}); install it, or name one: make $use PYTHON=/path/to/python3.11"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python ($version) lacks the venv module; install it (Debian and Ubuntu: apt-get install python3-venv) and try again"

if [ -e .venv ] && [ ! -f "$made_by_make" ] && [ -n "$(ls -A .venv 2>/dev/null)" ]; then
    fail ".venv is there but was not made by make; move it away and try again"
fi
if [ -e .venv ] && [ "$(cat "$made_by_make" 2>/dev/null)" != "$(pwd -P)" ]; then
    say "The environment in .venv was made for another folder; making it again."
    rm -rf .venv
elif [ -e .venv ] && ! { ls .venv/.ready-* && .venv/bin/python -c "$new_enough" && .venv/bin/python -m pip --version; } >/dev/null 2>&1; then
    say "The environment in .venv was left half made; making it again."
    rm -rf .venv
fi
if [ ! -e .venv ]; then
    say "Making the environment in .venv with Python $version (once; a minute or two) ..."
    { mkdir .venv && pwd -P >"$made_by_make" && "$python" -m venv .venv; } ||
        fail "the environment could not be made; is the disk full or the folder read-only?"
fi

rm -f "$stamp"
pip() { .venv/bin/python -m pip --disable-pip-version-check -qq install "$@"; }
pip --no-deps --require-hashes -r "requirements/$use.txt" ||
    fail "installing the pinned packages failed (the reason is above); is a package index reachable?"
pip --no-deps --no-build-isolation -e packages/sdk -e packages/server ||
    fail "installing the two packages of this repository failed (the reason is above)"
wanted >"$stamp"
