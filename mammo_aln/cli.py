"""`mammo-aln VERB`: a table of verbs, each one call of a function in `verbs/` whose signature is its flags.

Exit codes: 0 done; 1 a check found problems; 2 wrong input or setting, told on standard error; 75 a scheduler's signal
stopped a training, start it again; 130 Ctrl-C. What a verb made is the
last line of standard output, a path alone; everything else goes to standard error. Heavy libraries load only once a
verb runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

DEFAULT_ACTION = {"sweep": "run"}
"""What a verb of several actions does where none is named."""

VERBS: dict[str, tuple[str, str, str]] = {
    # verb, or verb and action: (function in verbs/, its positional argument, what it does)
    "demo": ("demo", "", "phantom cohort -> crops -> training -> external-centre test -> report.html"),
    "doctor": ("doctor", "cohort", "pre-flight of this machine, with the fix to type"),
    "phantom": ("phantom", "", "write a synthetic multi-centre DICOM cohort whose best possible AUC is known"),
    "index": ("index", "dicom_dir", "list a DICOM folder's mammograms in images.csv (reads headers only)"),
    "import": ("import_dataset", "name source", "make a cohort folder of a public data set's tables"),
    "check": (
        "check",
        "cohort",
        "find every fault of a cohort before it costs a training (exit code 1 if there is one)",
    ),
    "split": ("split", "cohort", "split by patient, stratified by status and centre, or leave one centre out"),
    "crop": (
        "crop_images",
        "cohort",
        "build the crop store; proof sheets (--proof) and NPY files (--export) on request",
    ),
    "pretrain": ("pretrain_backbone", "cohort", "pre-train a backbone on any label column, or by contrast, for train"),
    "train": ("train", "cohort", "train one model; the same command goes on where it stopped"),
    "predict": ("predict", "cohort", "score a cohort with a frozen run"),
    "evaluate": ("evaluate", "files", "judge predictions: metrics.json, curves, report.html"),
    "sweep run": ("sweep_run", "sweep", "train every cell of a sweep (crop x backbone, ladder, seeds); again: goes on"),
    "sweep status": ("sweep_status", "out", "where every cell of a sweep stands; writes board.html"),
    "sweep collect": ("sweep_collect", "out", "cells.csv, the choice by validation alone, then (--test) its test"),
    "explain": ("explain", "cohort", "why a run says so: heat maps, share of each input, box jitter"),
    "compare": ("compare", "files", "compare models on the same patients: the first file is the reference"),
    "radiomics extract": ("radiomics_extract", "cohort", "radiomic and deep features of volumes or mammograms"),
    "radiomics fit": (
        "radiomics_fit",
        "cohort",
        "clinical, radiomics, deep and DLR signatures from tables of features",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help"):
        print(_overview(list(VERBS)))
        return 0
    if words[0] == "--version":
        from mammo_aln import __version__

        print(__version__)
        return 0
    verb, *rest = words
    actions = [name for name in VERBS if name.startswith(f"{verb} ")]
    if actions:
        if rest and f"{verb} {rest[0]}" in VERBS:
            verb = f"{verb} {rest.pop(0)}"
        elif not rest or rest[0] in ("-h", "--help") or verb not in DEFAULT_ACTION:
            print(_overview(actions), file=sys.stdout if rest[:1] in (["-h"], ["--help"]) else sys.stderr)
            return 0 if rest[:1] in (["-h"], ["--help"]) else 2
        else:
            verb = f"{verb} {DEFAULT_ACTION[verb]}"
    if verb not in VERBS:
        print(f"mammo-aln: unknown verb {verb!r}; known: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    from mammo_aln.errors import CheckFailed, ExitCode, InputError, Requeue

    try:
        return _run(verb, rest)
    except InputError as error:
        if debug:
            raise
        print(f"mammo-aln {verb}: {error}", file=sys.stderr)
        return 2
    except CheckFailed as found:
        print(f"mammo-aln {verb}: {found}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"mammo-aln {verb}: stopped; the same command goes on from what is finished", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except Requeue as stopped:
        print(f"mammo-aln {verb}: {stopped}; the same command goes on from there", file=sys.stderr)
        return ExitCode.AGAIN
    except BrokenPipeError:
        # The reader of standard output left; what was made is on disk.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _overview(verbs: Sequence[str]) -> str:
    lines = ["usage: mammo-aln VERB [options]     (mammo-aln VERB --help shows a verb's options)", ""]
    width = max(10, *(len(verb) + 2 for verb in verbs))
    lines += [f"  {verb:<{width}}{VERBS[verb][2]}" for verb in verbs]
    lines += [
        "",
        "options: --version, --debug (traceback for wrong input).",
        "settings: --config FILE.yaml (several; later wins), --SECTION.KEY=VALUE.",
    ]
    return "\n".join(lines)


def _run(verb: str, words: list[str]) -> int:
    from mammo_aln import verbs
    from mammo_aln.settings.parse import parse

    name, positional, _ = VERBS[verb]
    function = getattr(verbs, name)
    arguments = parse(function, f"mammo-aln {verb}", positional, words)
    if arguments is None:
        return 0
    with redirect_stdout(sys.stderr):  # whatever a library prints; standard output is for the path alone
        result = function(**arguments)
    if isinstance(result, int):
        return result
    if _leads():
        print(result, flush=True)
    return 0


def _leads() -> bool:
    """Whether this process speaks for all: of the ranks of one training only the first does."""
    group = sys.modules.get("torch.distributed")
    return group is None or not group.is_available() or not group.is_initialized() or group.get_rank() == 0


if __name__ == "__main__":
    sys.exit(main())
