"""Files of signatures in the folder of a fit."""

from __future__ import annotations

from pathlib import Path

from mammo_aln.errors import InputError
from mammo_aln.progress import say
from mammo_aln.runs.names import run_path

SIGNATURE_FILE = "signature.json"
FULLEST_FIRST = ("dlr", "radiomics", "deep", "clinical")


def signature_file(run: Path) -> Path | None:
    """Find the signature that `--run` stands for: its file, its folder, or the fit; None where it is no fit.

    Of a fit's signatures the fullest is taken, and said.

    Raises:
        InputError: a fit of an earlier version, which saved none.
    """
    run = run_path(run)
    if run.name == SIGNATURE_FILE and run.is_file():
        return run
    if (run / SIGNATURE_FILE).is_file():
        return run / SIGNATURE_FILE
    names = [name for name in FULLEST_FIRST if (run / name / "predictions.json").is_file()]
    saved = [name for name in names if (run / name / SIGNATURE_FILE).is_file()]
    if len(saved) > 1:
        say(f"{run}: scored by the signature {saved[0]}; --run {run}/NAME takes another one: {', '.join(saved[1:])}")
    if names and not saved:
        raise InputError(
            f"{run}: a fit of an earlier version, which saved no {SIGNATURE_FILE}: fit again, into another OUT"
        )
    return run / saved[0] / SIGNATURE_FILE if saved else None
