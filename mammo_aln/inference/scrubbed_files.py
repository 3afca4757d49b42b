"""Files of a scrubbed copy, each made anew of the fields that this version knows; none is copied as it stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from mammo_aln.cohort.lineage import Source
from mammo_aln.evaluation.statistics.calibration import CalibrationMethod
from mammo_aln.evaluation.statistics.discrimination import ThresholdRule
from mammo_aln.files import json_ready, read_object, read_own_table, write_json
from mammo_aln.model.origin import PRETRAINED_KEY, RESTORE, stored_checkpoint
from mammo_aln.runs.lineage import LINEAGE_FILE, read_lineage, write_lineage
from mammo_aln.runs.record import RECORDED_PACKAGES, Environment, read_settings, write_settings
from mammo_aln.runs.seal import RECIPE_FILE, WEIGHTS
from mammo_aln.settings import DataConfig, LogConfig, Precision, Settings
from mammo_aln.training.checkpoints import write_checkpoint
from mammo_aln.training.frozen_facts import FrozenFacts
from mammo_aln.training.prediction_facts import OperatingPoint, PredictionFacts

VERSION = re.compile(r"\d[\w.+-]{0,39}")
REVISION = re.compile(r"(?:sources:)?[0-9a-f]{16,64}(?:\+changed)?")
DIGEST = re.compile(r"(?:sha256:)?[0-9a-f]{64}")
WORDS = (*get_args(CalibrationMethod), *get_args(ThresholdRule), *get_args(Precision), "val", "Inf", "-Inf", "NaN")
"""Texts that stand beside numbers in what a run freezes."""
THRESHOLD = ("value", "rule", "target", "sensitivity", "specificity", "split")
CALIBRATION = ("method", "temperature", "intercept", "n", "at_limit", "split")
HEADING = (
    "run_id", "patient_id", "side", "center", "split", "aln_status", "score", "logit", "call", "inputs_seen",
)  # fmt: skip
TO_PREDICT = ("epoch", "global_step", "pytorch-lightning_version", "state_dict", "hyper_parameters")
"""Content of a checkpoint that predicting reads."""
FROZEN_FACTS = ("run_id", "recipe", "clinical_encoder", "outcome", "lineage")


@dataclass(frozen=True)
class CompletedRun:
    """A completed run, read file by file as what this version knows of it.

    Args:
        run: its directory.
        checkpoint: content of its weights' file.
        frozen: facts of that.
        settings: of config.yaml.
        facts: of predictions.json.
        environment: environment.json.
        lineage: as the checkpoint has it; of an older run, as `lineage.json` does.
    """

    run: Path
    checkpoint: Mapping[str, Any]
    frozen: FrozenFacts
    settings: Settings
    facts: PredictionFacts
    environment: Mapping[str, Any]
    lineage: tuple[Source, ...]

    @classmethod
    def of(cls, run: Path) -> CompletedRun:
        """Read it; `InputError` where a file is gone, damaged or of another make."""
        frozen = FrozenFacts.of_checkpoint(run / WEIGHTS)
        return cls(
            run,
            stored_checkpoint(run / WEIGHTS, RESTORE),
            frozen,
            read_settings(run),
            PredictionFacts.read(run / "predictions.csv"),
            read_object(run / "environment.json", "identity"),
            frozen.lineage or read_lineage(run),
        )


def _settings(own: CompletedRun, copy: Path) -> None:
    model = own.settings.model
    if isinstance(model.pretrained, str):
        model = replace(model, pretrained=Path(model.pretrained).name)
    data = replace(own.settings.data, stage=DataConfig.stage)
    write_settings(copy.parent, replace(own.settings, model=model, data=data, log=LogConfig(wandb="disabled")))


def _environment(own: CompletedRun, copy: Path) -> None:
    stated, identity = own.environment, own.environment["identity"]
    kept = {
        "package_version": _word(identity["package_version"], VERSION),
        "learning_version": int(identity["learning_version"]),
        "settings": _known_settings(identity["settings"], own.settings),
        "cohort": _word(identity["cohort"], DIGEST),
    }
    packages = {
        name: _word(stated["packages"][name], VERSION) for name in RECORDED_PACKAGES if name in stated["packages"]
    }
    about = Environment(
        _word(stated["package_version"], VERSION),
        _word(stated["code_revision"], REVISION),
        _word(stated["python"], VERSION),
        {name: _word(packages[name], VERSION) for name in RECORDED_PACKAGES if name in packages},
        platform="",
        host="",
        gpus=(),
    )
    write_json(copy, {**asdict(about), "identity": kept})


def _recipe(own: CompletedRun, copy: Path) -> None:
    write_json(copy, own.frozen.recipe)


def _lineage(own: CompletedRun, copy: Path) -> None:
    write_lineage(copy.parent, own.lineage)


def _facts(own: CompletedRun, copy: Path) -> None:
    """Write predictions.json, and predictions.csv without a row."""
    operating, inputs, leaks = own.facts.operating, own.facts.inputs, own.facts.leaks
    training = _without_ranges(own.frozen)
    facts = PredictionFacts(
        run_id=own.frozen.run_id,
        operating=OperatingPoint(_stated(operating.threshold, THRESHOLD), _stated(operating.calibration, CALIBRATION)),
        recipe=own.frozen.recipe,
        fallbacks={},
        cohort_flow=(),
        settings=_known_settings(own.facts.settings, own.settings),
        lineage=None if own.facts.lineage is None else tuple(source.to_state() for source in own.lineage),
        inputs=(_stated(inputs, ("most_lacking", "allow_missing")) | ({"training": training} if training else {}))
        if inputs
        else None,
        outcome=own.frozen.outcome.to_json() if own.frozen.outcome else None,
        leaks={name: leaks[name] for name in ("reason", "counts") if name in leaks} if leaks else None,
    )
    columns = read_own_table(own.run / "predictions.csv", dtype=str, nrows=0).columns
    facts.write(copy.with_suffix(".csv"), pd.DataFrame(columns=[name for name in HEADING if name in columns]))


def _weights(own: CompletedRun, copy: Path) -> None:
    stated = own.checkpoint[PRETRAINED_KEY]
    kept = {name: own.checkpoint[name] for name in TO_PREDICT if name in own.checkpoint}
    facts = {name: stated[name] for name in FROZEN_FACTS if name in stated}
    nobody: Mapping[str, object] = {"pretraining": [], "trained_on": [], "validated_on": [], "scrubbed": True}
    write_checkpoint(copy, {**kept, PRETRAINED_KEY: {**facts, "inputs": _without_ranges(own.frozen), **nobody}})


WRITTEN: Mapping[str, Callable[[CompletedRun, Path], None]] = {
    "config.yaml": _settings,
    "environment.json": _environment,
    RECIPE_FILE: _recipe,
    LINEAGE_FILE: _lineage,
    "predictions.json": _facts,
    WEIGHTS: _weights,
}
"""Files of a copy beside state.json, and what writes each."""


def _without_ranges(frozen: FrozenFacts) -> Mapping[str, object] | None:
    """Leave smallest and largest values out: each is one patient's."""
    return None if frozen.inputs is None else {**frozen.inputs.to_state(), "ranges": {}}


def _word(stated: object, form: re.Pattern[str]) -> str:
    if not isinstance(stated, str) or not form.fullmatch(stated):
        raise ValueError(f"{stated!r} stands where {form.pattern} was expected")
    return stated


def _stated(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, object]:
    """Numbers, and the product's own words, under these names."""
    kept = {name: values[name] for name in names if name in values}
    for name, value in kept.items():
        if not isinstance(value, bool | int | float) and value is not None and value not in WORDS:
            raise ValueError(f"{name} = {value!r} is nothing that a training freezes")
    return kept


def _known_settings(stated: Mapping[str, Any], settings: Settings) -> dict[str, object]:
    """Shaping settings of sections and names that this version has; a text stands only where config.yaml has it too."""
    own = json_ready(asdict(settings))
    kept: dict[str, object] = {}
    for field in fields(settings):
        section, values = field.name, stated.get(field.name)
        if isinstance(values, dict):
            known = {name: value for name, value in values.items() if name in own[section]}
            for name, value in known.items():
                _require_alike(f"{section}.{name}", value, own[section][name])
            kept[section] = known
        elif section in stated:
            kept[section] = values
            _require_alike(section, values, own[section])
    if step := stated.get("step"):
        kept["step"] = {name: value for name, value in step.items() if _is_counts(value)}
    return kept


def _require_alike(name: str, stated: object, own: object) -> None:
    """`ValueError` where a value is no number, no digest and no word of the product's, and config.yaml has another."""
    listed = [sorted(value, key=str) if isinstance(value, list) else value for value in (stated, own)]
    number = isinstance(stated, bool | int | float)
    word = isinstance(stated, str) and (stated in WORDS or DIGEST.fullmatch(stated))
    if not number and not word and listed[0] != listed[1]:
        raise ValueError(f"{name} = {stated!r}, which config.yaml has as {own!r}")


def _is_counts(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, dict) and all(isinstance(one, int) for one in value.values()))
