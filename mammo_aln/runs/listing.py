"""Runs of a folder, one line each: which is which, how far it came, and how well it validated."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from mammo_aln.errors import InputError
from mammo_aln.files import LARGEST_TABLE_BYTES, REMEDY, regular_bytes, stands
from mammo_aln.progress import aligned
from mammo_aln.runs.identity import WITHOUT_INFLUENCE
from mammo_aln.runs.lock import is_held
from mammo_aln.runs.record import read_state
from mammo_aln.settings.shipped import read_yaml

DEPTHS = ("config.yaml", "*/config.yaml", "*/*/config.yaml")
"""A run's own folder, a folder of runs, and a sweep's folder."""

IN_COLUMNS = {"model.backbone", "model.inputs", "crop.strategy", "seed", "trainer.max_epochs"}
LEFT = ("KeyboardInterrupt", "Requeue")
"""Recorded as the error of a run that was stopped in good order."""


@dataclass(frozen=True)
class ListedRun:
    """A run as it stands.

    Attributes:
        run_id: name of its folder.
        state: `completed`, `running`, `stopped` (it goes on when started again), `failed`, `not_started`, or `damaged`
            where a file of it cannot be read.
        backbone: of its network.
        crop: strategy of its primary crop.
        inputs: joined by `+`.
        seed: of the training.
        epochs: done.
        max_epochs: planned.
        val_auc: best of all epochs; empty where none was judged.
        started: when, UTC.
        folder: where it lies.
        differs_in: other settings, as flags of `train` without dashes, that the listed runs do not share.
        name: what its user calls it; empty where it has no name.
        fault: of a damaged one, which file cannot be read, and why.
    """

    run_id: str
    state: str
    backbone: str
    crop: str
    inputs: str
    seed: int | None
    epochs: int
    max_epochs: int | None
    val_auc: float | None
    started: str
    folder: str
    differs_in: str = ""
    name: str = ""
    fault: str = ""


def listed_runs(folder: Path) -> list[ListedRun]:
    """List the runs of a folder, of a sweep's folder too, in the order in which they were started.

    Raises:
        InputError: there is no such folder, or no run of it can be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    runs = [path.parent for depth in DEPTHS for path in folder.glob(depth) if stands(path.parent / "state.json")]
    listed = [each for path in runs if (each := _read(path)) is not None]
    if listed and all(run.fault for run, _ in listed):
        raise InputError("\n".join(run.fault for run, _ in listed))
    differing = _differing([settings for _, settings in listed if settings])
    named = [replace(run, differs_in=_in_words(settings, differing) if settings else "") for run, settings in listed]
    return sorted(named, key=lambda run: (run.started, run.run_id))


def _read(run: Path) -> tuple[ListedRun, Mapping[str, Any]] | None:
    """Read a run and its settings; None of signatures of `radiomics fit`, which are no run."""
    try:
        settings = read_yaml(run / "config.yaml")
        return None if "fit" in settings else (_listed(run, settings), settings)
    except InputError as error:
        fault = str(error) if str(run) in str(error) else f"{run}: {error}"
        return ListedRun(run.name, "damaged", "", "", "", None, 0, None, None, "", str(run), fault=fault), {}


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name settings that have no column of their own and shape a result, `section.key`, with their values as YAML."""
    for section, values in settings.items():
        for key, value in values.items() if isinstance(values, Mapping) else [("", values)]:
            name = f"{section}.{key}" if key else section
            if name not in IN_COLUMNS and key not in WITHOUT_INFLUENCE.get(section, ()):
                yield name, json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else str(value)


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name what runs do not share, in the order of their settings; a setting that one of them lacks is not compared."""
    flat = [dict(_flat(each)) for each in settings]
    shared = [name for name in (flat[0] if flat else ()) if all(name in each for each in flat)]
    return [name for name in shared if len({each[name] for each in flat}) > 1]


def _in_words(settings: Mapping[str, Any], names: Sequence[str]) -> str:
    flat = dict(_flat(settings))
    return ", ".join(f"{name}={flat[name]}" for name in names)


def _listed(run: Path, settings: Mapping[str, Any]) -> ListedRun:
    try:
        record = read_state(run)
        model, inputs = settings["model"], settings["model"]["inputs"]
        values = _val_aucs(run / "metrics.csv")
        return ListedRun(
            run.name,
            _state(run, record.state, record.error),
            model["backbone"],
            settings["crop"]["strategy"] if {"primary", "auxiliary"} & set(inputs) else "",
            "+".join(inputs),
            settings["seed"],
            len(values),
            settings["trainer"]["max_epochs"],
            max((value for value in values if not math.isnan(value)), default=None),
            record.started or "",
            str(run),
            name=record.name or "",
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise InputError(f"{run / 'config.yaml'}: holds no settings of a training ({cause}); {REMEDY}") from error


def _state(run: Path, state: str, error: object) -> str:
    """Tell a run that is trained now from one whose process is gone."""
    if is_held(run):
        return "running"
    return "stopped" if state == "running" or str(error).startswith(LEFT) else state


def _val_aucs(metrics: Path) -> list[float]:
    """Read the validation AUC of each epoch; NaN where there is none."""
    if not stands(metrics):
        return []
    try:
        text = regular_bytes(metrics, LARGEST_TABLE_BYTES).decode()
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if "epoch" not in (rows.fieldnames or ["epoch"]):
            raise ValueError("it has no column epoch")
        return [float(row.get("val_auc") or "nan") for row in rows]
    except (ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{metrics}: not the table that was written there ({error}); {REMEDY}") from error


def runs_as_table(runs: Sequence[ListedRun]) -> str:
    """Lay runs out in columns to be read, names where a run has one; below them what is wrong with damaged ones."""
    named = any(run.name for run in runs)
    head = ["state", "backbone", "crop", "inputs", "seed", "epochs", "val AUC", "started (UTC)", "differs in"]
    head = ["run", *(["name"] * named), *head]
    lines = [
        [
            run.run_id,
            *([run.name or "–"] * named),
            run.state,
            run.backbone or "–",
            run.crop or "–",
            run.inputs or "–",
            "–" if run.seed is None else str(run.seed),
            "–" if run.max_epochs is None else f"{run.epochs}/{run.max_epochs}",
            "–" if run.val_auc is None else f"{run.val_auc:.3f}",
            run.started[:16].replace("T", " "),
            run.differs_in or "–",
        ]
        for run in runs
    ]
    faults = [f"{run.run_id}: damaged: {run.fault}" for run in runs if run.fault]
    return "\n".join([*aligned([head, *lines]), *faults])


def runs_as_csv(runs: Sequence[ListedRun]) -> str:
    """Write runs as CSV, every digit kept."""
    text = io.StringIO()
    table = csv.DictWriter(text, [field.name for field in fields(ListedRun)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(run) for run in runs)
    return text.getvalue().rstrip("\n")
