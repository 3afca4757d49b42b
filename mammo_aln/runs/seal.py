"""The seal on a test: a run that cannot change unnoticed between its training and its test."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mammo_aln.errors import InputError
from mammo_aln.files import json_ready, read_json, read_object, stands
from mammo_aln.runs.identity import file_digest
from mammo_aln.runs.record import read_state

NOT_A_TEST = ("train", "val", "cv")
WEIGHTS = "checkpoints/best.ckpt"
RECIPE_FILE = "recipe.json"
FROZEN = ("threshold", "calibration", "recipe")


def digest_of(value: Any) -> str:
    """Digest (SHA-256) a value as sorted JSON."""
    return hashlib.sha256(json.dumps(json_ready(value), sort_keys=True).encode()).hexdigest()


def frozen_digests(run: Path) -> dict[str, str]:
    """SHA-256 of a run's weights, threshold, calibration and pixel recipe, as they stand on disk now."""
    about = read_object(run / "predictions.json")
    return {"weights": file_digest(run / WEIGHTS)} | {name: digest_of(about.get(name)) for name in FROZEN}


def holds_recipe(run: Path, recipe: Any) -> bool:
    """Tell whether a run's recipe.json, where it has one, is this recipe; `InputError` where it cannot be read."""
    file = run / RECIPE_FILE
    return not stands(file) or digest_of(read_json(file)) == digest_of(recipe)


def require_unchanged(run: Path) -> dict[str, str]:
    """The digests that the run was frozen with, after comparing them with what stands on disk.

    Raises:
        InputError: weights, threshold, calibration or recipe are others than those the training ended with, or the run
            was never frozen.
    """
    frozen = read_state(run).frozen
    if not frozen:
        raise InputError(f"{run}: its state.json names no frozen weights (a run of an older version?); train it again")
    digests = frozen_digests(run)
    changed = [name for name in frozen if digests[name] != frozen[name]]
    if changed:
        files = ", ".join(sorted({WEIGHTS if name == "weights" else "predictions.json" for name in changed}))
        raise InputError(
            f"{run}: {', '.join(changed)} changed after the training ended ({files}); a test needs the frozen run"
        )
    return dict(frozen)
