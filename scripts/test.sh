#!/usr/bin/env bash
# Installs what is missing and passes the tests in two processes; options go to pytest (for example: -m slow, or -n 0
# for one process).
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
bash "$here/scripts/install.sh" dev
cd "$here"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}  # threads of two processes would wait for each other on two cores
exec .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
