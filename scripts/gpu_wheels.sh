#!/usr/bin/env bash
# Collects, into the folder named (default .whl), the wheels that mammo_aln needs on a GPU machine without a package
# registry that already holds PyTorch, torchvision, timm, Lightning, torchmetrics, pandas, scikit-learn, OpenCV and joblib
# (Linux x86-64, Python 3.12). About 40 MB; versions are those of requirements.lock. There:
#   python3 -m pip install -q --no-index --no-deps --target .site .whl/*.whl && export PYTHONPATH=$PWD/.site:$PWD
set -euo pipefail
usage="Usage: bash scripts/gpu_wheels.sh [FOLDER]"
case ${1:-} in
  -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; echo "$usage"; exit 0 ;;
  -*) echo "gpu_wheels.sh: unknown option $1. $usage" >&2; exit 2 ;;
esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=${1:-.whl}
mkdir -p "$out"
packages=(pydicom albumentations albucore simsimd stringzilla jsonargparse docstring-parser typeshed-client imagecodecs
  pandera typeguard typing-inspect typing-inspection pydantic pydantic-core annotated-types pywavelets)
platforms=()
for libc in 2_28 2_27 2_17; do platforms+=(--platform "manylinux_${libc}_x86_64"); done
platforms+=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)
for package in "${packages[@]}"; do
  # a package may be pinned once for each range of Pythons: the wheel of the first that has one for 3.12
  pins=$(sed -n "s/^\($package==[^ ;]*\).*/\1/p" "$root/requirements.lock")
  [ -n "$pins" ] || { echo "gpu_wheels.sh: $package is not in requirements.lock" >&2; exit 1; }
  collected=
  for pin in $pins; do
    if python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
      "${platforms[@]}" -d "$out" "$pin"; then collected=yes; break; fi
  done
  [ -n "$collected" ] || { echo "gpu_wheels.sh: no wheel of $package for Python 3.12" >&2; exit 1; }
done
du -sh "$out"
