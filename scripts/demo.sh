#!/usr/bin/env bash
# The whole road once, on a synthetic three-centre DICOM cohort: crops, training, external-centre test, report.html.
# Options go to `mammo-aln demo` (see its --help).
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
bash "$here/scripts/install.sh" run
cd "$here"
exec .venv/bin/mammo-aln demo "$@"
