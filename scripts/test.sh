#!/usr/bin/env bash
# Installs what is missing and passes the tests; options go to pytest (for example: -m slow).
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
bash "$here/scripts/install.sh" dev
cd "$here"
exec .venv/bin/python -m pytest "$@"
