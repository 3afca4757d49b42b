#!/usr/bin/env bash
# Makes .venv beside the project and installs what is missing: `install.sh run` for use, `install.sh dev` for tests.
# Plain pip, so that a GPU machine gets CUDA. PYTHON=... names another interpreter.
set -euo pipefail
extra=${1:?install.sh: say run or dev}
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stop() { echo "install.sh: $*" >&2; exit 2; }
suits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1; }

stamp=.venv/installed-$extra
if [ ! -f "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
  if [ ! -x .venv/bin/pip ]; then
    python=${PYTHON:-python3}
    command -v "$python" >/dev/null || stop "no $python here. Install Python 3.11, 3.12 or 3.13, or name one: PYTHON=/path/to/python3.12"
    suits "$python" || stop "Python 3.11, 3.12 or 3.13 is needed, $python is $("$python" -V 2>&1). Name another: PYTHON=/path/to/python3.12"
    "$python" -m venv .venv || stop "$python cannot make a virtual environment (Debian, Ubuntu: apt-get install python3-venv)"
  fi
  suits .venv/bin/python || stop "Python 3.11, 3.12 or 3.13 is needed, .venv holds $(.venv/bin/python -V 2>&1). Type: rm -r .venv"
  echo "installing mammo_aln ($extra) into .venv ..." >&2
  target=.
  if [ "$extra" = dev ]; then target=".[dev]"; fi
  pip=(.venv/bin/python -m pip install -q --disable-pip-version-check)
  "${pip[@]}" --upgrade pip >&2 || stop "pip could not be brought up to date; its message stands above"
  "${pip[@]}" -e "$target" >&2 || stop "the installation failed; pip's message stands above. The same command goes on from here"
  touch "$stamp"
  if [ "$extra" = dev ]; then touch .venv/installed-run; fi
fi
