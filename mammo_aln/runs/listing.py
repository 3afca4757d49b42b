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
from mammo_aln.files import read_object
from mammo_aln.progress import aligned
from mammo_aln.runs.identity import WITHOUT_INFLUENCE
from mammo_aln.runs.lock import is_held
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
        state: `completed`, `running`, `stopped` (it goes on when started again), `failed` or `not_started`.
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
    """

    run_id: str
    state: str
    backbone: str
    crop: str
    inputs: str
    seed: int
    epochs: int
    max_epochs: int
    val_auc: float | None
    started: str
    folder: str
    differs_in: str = ""
    name: str = ""


def listed_runs(folder: Path) -> list[ListedRun]:
    """List the runs of a folder, of a sweep's folder too, in the order in which they were started.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    runs = [path.parent for depth in DEPTHS for path in folder.glob(depth) if (path.parent / "state.json").is_file()]
    listed = [(run, settings) for path in runs if (settings := _settings(path)) and (run := _listed(path, settings))]
    differing = _differing([settings for _, settings in listed])
    named = [replace(run, differs_in=_in_words(settings, differing)) for run, settings in listed]
    return sorted(named, key=lambda run: (run.started, run.run_id))


def _settings(run: Path) -> Mapping[str, Any]:
    """Read a run's settings; none of signatures of `radiomics fit`, which are no run."""
    try:
        settings = read_yaml(run / "config.yaml")
        return {} if "fit" in settings else settings
    except InputError as error:
        raise InputError(f"{run}: its config.yaml cannot be read ({error})") from error


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
        record = read_object(run / "state.json")
        model, inputs = settings["model"], settings["model"]["inputs"]
        values = _val_aucs(run / "metrics.csv")
        return ListedRun(
            run.name,
            _state(run, record["state"], record.get("error")),
            model["backbone"],
            settings["crop"]["strategy"] if {"primary", "auxiliary"} & set(inputs) else "",
            "+".join(inputs),
            settings["seed"],
            len(values),
            settings["trainer"]["max_epochs"],
            max((value for value in values if not math.isnan(value)), default=None),
            str(record.get("started", "")),
            str(run),
            name=record.get("name", ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        raise InputError(f"{run}: its config.yaml, state.json or metrics.csv cannot be read ({error})") from error


def _state(run: Path, state: str, error: object) -> str:
    """Tell a run that is trained now from one whose process is gone."""
    if is_held(run):
        return "running"
    return "stopped" if state == "running" or str(error).startswith(LEFT) else state


def _val_aucs(metrics: Path) -> list[float]:
    if not metrics.is_file():
        return []
    with metrics.open(encoding="utf-8", newline="") as stream:
        return [float(row.get("val_auc") or "nan") for row in csv.DictReader(stream)]


def runs_as_table(runs: Sequence[ListedRun]) -> str:
    """Lay runs out in columns to be read; names where a run has one."""
    named = any(run.name for run in runs)
    head = ["state", "backbone", "crop", "inputs", "seed", "epochs", "val AUC", "started (UTC)", "differs in"]
    head = ["run", *(["name"] * named), *head]
    lines = [
        (
            *(
                run.run_id,
                *([run.name or "–"] * named),
                run.state,
                run.backbone,
                run.crop or "–",
                run.inputs,
                str(run.seed),
            ),
            *(f"{run.epochs}/{run.max_epochs}", "–" if run.val_auc is None else f"{run.val_auc:.3f}"),
            run.started[:16].replace("T", " "),
            run.differs_in or "–",
        )
        for run in runs
    ]
    return "\n".join(aligned([head, *lines]))


def runs_as_csv(runs: Sequence[ListedRun]) -> str:
    """Write runs as CSV, every digit kept."""
    text = io.StringIO()
    table = csv.DictWriter(text, [field.name for field in fields(ListedRun)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(run) for run in runs)
    return text.getvalue().rstrip("\n")
