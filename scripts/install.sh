#!/usr/bin/env bash
# Makes .venv beside the project and installs what is missing; plain pip, so that a GPU machine gets CUDA. Source or run it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
stamp=.venv/installed-$1
if [ ! -f "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  .venv/bin/python -c 'import sys; sys.exit(f"Python 3.11 or later is needed, this is {sys.version.split()[0]}" if sys.version_info < (3, 11) else 0)'
  echo "installing mammo_aln ($1) into .venv ..." >&2
  .venv/bin/python -m pip install -q --disable-pip-version-check --upgrade pip >&2
  target=.
  if [ "$1" = dev ]; then target=".[dev]"; fi
  .venv/bin/python -m pip install -q --disable-pip-version-check -e "$target" >&2
  touch "$stamp"
  if [ "$1" = dev ]; then touch .venv/installed-run; fi
fi
