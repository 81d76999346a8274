# shellcheck shell=bash
# Sets PYTHON to a python3 that has NumPy, and TORCH_PYTHON to one that has PyTorch and transformers; "" if there is none.
# MIXTUNE_PYTHON is asked before the others.
PYTHON="" TORCH_PYTHON=""
python_has() { "$1" -c 'import sys, importlib.util; sys.exit(not all(map(importlib.util.find_spec, sys.argv[1:])))' "${@:2}" 2>/dev/null; }
for candidate in ${MIXTUNE_PYTHON:+"$MIXTUNE_PYTHON"} python3 /usr/bin/python3; do
    [ -n "$PYTHON" ] || ! python_has "$candidate" numpy || PYTHON=$candidate
    # shellcheck disable=SC2034 # used by who sources this
    [ -n "$TORCH_PYTHON" ] || ! python_has "$candidate" torch transformers safetensors || TORCH_PYTHON=$candidate
done
