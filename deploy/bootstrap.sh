#!/bin/sh
# Make a virtual environment from a lock with hashes. Usage: bootstrap.sh VENV LOCK [editable]
# Done again only when the lock, pyproject.toml or the Python under it changed; a broken or half-made one is made anew.
set -eu
venv=$1 lock=$2 editable=${3:-}

fail() { echo "mandate: $1" >&2; exit 1; }

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if is_new_enough "$candidate"; then echo "$candidate"; return; fi
  done
}

python=$(find_python)
[ -n "$python" ] || fail "Python 3.11 or newer is needed, and ${PYTHON:-python3} is $("${PYTHON:-python3}" -V 2>&1 | head -n 1 || true): install one, or name it with 'make PYTHON=/path/to/python3.12'."

wanted=$(cat "$lock" pyproject.toml | cksum)
if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c '' 2>/dev/null; then
  [ "$(cat "$venv/.stamp" 2>/dev/null || true)" = "$wanted" ] && exit 0
  [ -e "$venv/.stamp" ] && again= || again=--clear # without a stamp a run was killed in it
else
  again=--clear
fi

"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  fail "$python has no venv or ensurepip module: install it (Debian and Ubuntu: apt install python3-venv)."

echo "Setting up $venv with $("$python" -V)."
rm -f "$venv/.stamp"
"$python" -m venv $again "$venv" || fail "$venv could not be made: see the message above."
export PIP_DISABLE_PIP_VERSION_CHECK=1
"$venv/bin/python" -m pip install --require-hashes -r "$lock" ||
  fail "the packages of $lock could not be installed: check the network (a proxy is read from HTTPS_PROXY) and repeat the command."
if [ -n "$editable" ]; then
  "$venv/bin/python" -m pip install -q --no-deps --no-build-isolation --editable . || fail "mandate itself could not be installed in $venv: see the message above."
fi
echo "$wanted" > "$venv/.stamp"
