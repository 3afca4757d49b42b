#!/usr/bin/env bash
# Thirteen checks of this GPU machine in about ten minutes, one line each; all figures in out/gpu_check/gpu_check.json.
# No network. The same command goes on with what has not passed; --only 2 7 runs those checks again.
#   bash scripts/gpu_check.sh [--only N ...] [--out FOLDER] [--again] [--tiny] [--page]
# On a machine without package registry, carry the wheels of scripts/gpu_wheels.sh and set PYTHONPATH as it says.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
if [ -x "$root/.venv/bin/python" ]; then python=$root/.venv/bin/python; fi
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} WANDB_MODE=disabled NO_ALBUMENTATIONS_UPDATE=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-4}
exec "$python" -m benchmarks.gpu_check "$@"
