#!/usr/bin/env bash
# Writes the list of parts of a release (SBOM, CycloneDX 1.6, JSON): every package that requirements.lock pins, with the
# digests of its files. The same lock gives the same bytes.   bash scripts/sbom.sh [FILE]
set -euo pipefail
out=$(realpath -m "${1:-mammo_aln.cdx.json}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/.venv/bin:$PATH
command -v uv >/dev/null || { echo "sbom.sh: no uv here. Type: .venv/bin/pip install uv" >&2; exit 2; }
PYTHONWARNINGS=ignore::UserWarning uv tool run -q --from cyclonedx-bom==7.5.0 cyclonedx-py requirements requirements.lock --pyproject pyproject.toml \
  --output-reproducible --of JSON --sv 1.6 -o "$out"
python - "$out" <<'PYTHON'
import json, re, sys
from pathlib import Path

parts = {(part["name"], part["version"]) for part in json.loads(Path(sys.argv[1]).read_text())["components"]}
pins = set(re.findall(r"^([a-z0-9._-]+)==(\S+)", Path("requirements.lock").read_text(), flags=re.M))
if parts != pins:
    sys.exit(f"sbom.sh: {sys.argv[1]} does not hold what the lock pins: {sorted(parts ^ pins)}")
PYTHON
echo "$out"
