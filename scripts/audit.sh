#!/usr/bin/env bash
# Lists known vulnerabilities of what requirements.lock pins: exit code 0 none known, 1 some, 2 not audited.
#   audit.sh                   asks PyPI, by pip-audit
#   audit.sh --database FILE   asks a download of OSV's, without a network:
#                              https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
stop() { echo "audit.sh: $*" >&2; exit 2; }
PATH=$PWD/.venv/bin:$PATH
case ${1:-} in
  --database) [ $# = 2 ] || stop "--database takes one file, the download of OSV's"; exec python scripts/audit.py database "$2" ;;
  "") ;;
  *) stop "unknown '$1'; type: bash scripts/audit.sh [--database FILE]" ;;
esac
command -v uv >/dev/null || stop "no uv here. Type: .venv/bin/pip install uv"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# pip-audit ends with 1 for a vulnerability and for a service that it cannot reach; its answer tells them apart.
uv tool run -q --from pip-audit==2.10.1 pip-audit -r requirements.lock --disable-pip --require-hashes \
  --progress-spinner off -f json -o "$folder/answer.json" 2>"$folder/said.txt" || true
[ -s "$folder/answer.json" ] || stop "not audited; pip-audit says: $(tail -n 1 "$folder/said.txt" | cut -c1-300)"
python scripts/audit.py answer "$folder/answer.json"
