#!/usr/bin/env bash
# Writes requirements.lock: every package that use needs (with SLURM and search), pinned, with the digests of its files,
# for Linux and macOS and Python 3.11 to 3.13. `lock.sh --check` writes nothing and fails where the lock no longer is
# what pyproject.toml asks for. Needs uv (part of the dev packages).
#   pip install --require-hashes -r requirements.lock && pip install --no-deps .
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
lock=requirements.lock
PATH=$PWD/.venv/bin:$PATH
command -v uv >/dev/null || { echo "lock.sh: no uv here. Type: .venv/bin/pip install uv" >&2; exit 2; }

written=$lock
if [ "${1:-}" = --check ]; then
  written=$(mktemp)
  trap 'rm -f "$written"' EXIT
  if [ -f "$lock" ]; then cp "$lock" "$written"; fi
fi
# --check keeps what stands in the file as long as pyproject.toml allows it; --upgrade takes the newest of all.
# A lock written anew has the versions that are installed here, with which the tests passed.
upgrade=(); if [ "${1:-}" = --upgrade ]; then upgrade=(--upgrade); fi
if [ "$written" = "$lock" ] && [ "${1:-}" != --upgrade ]; then
  installed=$(mktemp)
  trap 'rm -f "$installed"' EXIT
  uv pip freeze --exclude-editable -q | grep '^[A-Za-z0-9._-]*==' >"$installed"
  upgrade=(--upgrade --constraint "$installed")
fi
uv pip compile pyproject.toml --extra slurm --extra search --universal --python-version 3.11 --generate-hashes \
  --no-header --no-annotate --no-emit-index-url -q "${upgrade[@]}" -o "$written" >/dev/null
if [ "$written" != "$lock" ] && ! cmp -s "$lock" "$written"; then
  diff "$lock" "$written" | grep '^[<>] [a-z]' | head -20 >&2 || true
  echo "lock.sh: $lock is not what pyproject.toml asks for. Type: bash scripts/lock.sh" >&2
  exit 1
fi
