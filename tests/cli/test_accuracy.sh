#!/bin/bash
# `make accuracy` on a small model that was made here: orders and signs of quality, and the arithmetic behind them.
set -u
. tests/cli/cases.sh
. tests/model/python.sh
if [ -z "$TORCH_PYTHON" ]; then
    skip 'accuracy of quantised models' 'no python3 with PyTorch and transformers'
    finish
fi
exec "$TORCH_PYTHON" tests/accuracy/check_accuracy.py "$TMPDIR"
