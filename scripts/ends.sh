#!/usr/bin/env bash
# Passes the tests at one end of what pyproject.toml allows, in an environment of its own:
#   ends.sh lowest python3.11 [pytest's options]    the oldest release allowed of every direct dependency
#   ends.sh newest python3.13 [pytest's options]    the newest release of everything
#   ends.sh resolve    only asks whether both ends can be installed, and whether the oldest are those that passed
# The environment (7 GB) is thrown away at the end; ENDS=FOLDER keeps it in FOLDER and goes on with what stands there.
# What came out is added to docs/supply/ends, of which docs/dependencies.md is made. For a release, by hand: each end takes
# as long as the tests, and a download of 3 GB.
set -euo pipefail
stop() { echo "ends.sh: $*" >&2; exit 2; }
usage="type: bash scripts/ends.sh lowest|newest PYTHON [pytest's options], for example: bash scripts/ends.sh newest python3.13"
end=${1:-}; python=${2:-}
case $end in
  lowest) resolution=(--resolution lowest-direct) ;;
  newest) resolution=(--upgrade) ;;
  resolve) python=${2:-python3} ;;
  *) stop "the first word is lowest, newest or resolve, not '$end'; $usage" ;;
esac
[ -n "$python" ] || stop "no Python is named; $usage"
interpreter=$(command -v "$python") || stop "no $python here; name one by its path; $usage"
interpreter=$(realpath -s "$interpreter")

cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${ENDS:-}
if [ -z "$folder" ]; then folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; fi
mkdir -p "$folder"
PATH=$PWD/.venv/bin:$PATH
if ! command -v uv >/dev/null; then
  "$interpreter" -m venv "$folder/tools" && "$folder/tools/bin/pip" install -q uv || stop "uv cannot be installed; pip's message stands above"
  PATH=$folder/tools/bin:$PATH
fi
unset VIRTUAL_ENV PYTHONPATH

if [ "$end" = resolve ]; then
  for machine in "lowest-direct 3.11" "highest 3.12" "highest 3.13"; do
    read -r resolution version <<<"$machine"
    uv pip compile pyproject.toml --extra dev --extra bench --resolution "$resolution" --python-version "$version" \
      --no-header --no-annotate -q -o "$folder/$resolution-$version.txt" >/dev/null \
      || stop "no releases fit together ($resolution, Python $version); uv's message stands above"
  done
  # The record has no digests and no platform: what was installed, by its name as pyproject.toml writes it.
  while IFS= read -r pin; do
    grep -qixF "$pin" "$folder/lowest-direct-3.11.txt" || stop "$pin passed, but is not the oldest allowed any more: bash scripts/ends.sh lowest python3.11"
  done < <(grep -v '^#' docs/supply/ends/lowest-3.11.txt)
  echo "both ends can be installed, and the oldest releases are those that passed"
  exit
fi

shift 2
here=$folder/env/bin/python
[ -x "$here" ] || uv venv -q --python "$interpreter" "$folder/env"
uv pip install -q --python "$here" "${resolution[@]}" -e '.[dev]' || stop "these releases cannot be installed together; uv's message stands above"

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
passed=0
"$here" -m pytest -p no:cacheprovider "$@" | tee "$folder/tests.txt" || passed=$?
"$here" docs/ends.py "$end" "$(tail -n 1 "$folder/tests.txt")" "$@"
exit "$passed"
