# shellcheck shell=bash
# Sets PYTHON to a python3 that has NumPy; "" if there is none.
PYTHON=
for candidate in python3 /usr/bin/python3; do
    [ -n "$PYTHON" ] || ! "$candidate" -c 'import numpy' 2>/dev/null || PYTHON=$candidate
done
