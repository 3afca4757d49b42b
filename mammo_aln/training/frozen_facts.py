"""Facts in a checkpoint beside its weights: run id, pixel recipe, clinical encoding, and whom it learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mammo_aln.cohort.declaration import Outcome
from mammo_aln.cohort.lineage import Source
from mammo_aln.files import json_ready
from mammo_aln.model.origin import PRETRAINED_KEY, RESTORE, Seen, stated_facts, stored_checkpoint
from mammo_aln.training.data.presence import InputProfile


@dataclass(frozen=True)
class FrozenFacts:
    """Facts that were fixed before the first step.

    Args:
        run_id: the run.
        recipe: pixel and crop settings and the steps taken; empty where no image is read.
        pretraining: whom the starting weights had seen.
        trained_on: whom this run learns from.
        validated_on: by whom its checkpoint, threshold and calibration are chosen.
        scrubbed: whom it learnt from was taken out of this copy.
        clinical_encoder: state of the fitted clinical encoder; None where the model reads no clinical features.
        heads: names of a pre-training's heads; None in a training.
        lineage: data sets and weights that this run descends from.
        inputs: what its training patients had; None in a pre-training, and in runs of an earlier version.
        outcome: what it learnt to tell; None as `inputs`.
    """

    run_id: str
    recipe: Mapping[str, Any]
    pretraining: tuple[Seen, ...] = ()
    trained_on: tuple[Seen, ...] = ()
    clinical_encoder: Mapping[str, Any] | None = None
    heads: tuple[str, ...] | None = None
    lineage: tuple[Source, ...] = ()
    inputs: InputProfile | None = None
    outcome: Outcome | None = None
    validated_on: tuple[Seen, ...] = ()
    scrubbed: bool = False

    def to_state(self) -> Mapping[str, Any]:
        """Plain dicts, lists, strings and numbers, for checkpoints that load with `weights_only=True`."""
        seen = {
            "pretraining": [each.to_state() for each in self.pretraining],
            "trained_on": [each.to_state() for each in self.trained_on],
            "validated_on": [each.to_state() for each in self.validated_on],
            "lineage": [source.to_state() for source in self.lineage],
        }
        inputs = None if self.inputs is None else self.inputs.to_state()
        outcome = None if self.outcome is None else asdict(self.outcome)
        own: Mapping[str, object] = {"clinical_encoder": self.clinical_encoder, "inputs": inputs, "outcome": outcome}
        if self.heads is not None:
            own = {"heads": list(self.heads)}
        plain: Mapping[str, Any] = json_ready({"run_id": self.run_id, "recipe": dict(self.recipe), **own, **seen})
        return plain

    @classmethod
    def of_checkpoint(cls, path: Path) -> FrozenFacts:
        """Read them from a checkpoint of a training; its weights are not read."""
        checkpoint = stored_checkpoint(path, RESTORE)
        with stated_facts(path):
            state = checkpoint[PRETRAINED_KEY]
            return cls(
                state["run_id"],
                state["recipe"],
                tuple(Seen.from_state(each) for each in state.get("pretraining", [])),
                tuple(Seen.from_state(each) for each in state.get("trained_on", [])),
                state["clinical_encoder"],
                inputs=InputProfile.from_state(state["inputs"]) if state.get("inputs") else None,
                outcome=Outcome(**state["outcome"]) if state.get("outcome") else None,
                lineage=tuple(Source.from_state(each) for each in state.get("lineage", [])),
                validated_on=tuple(Seen.from_state(each) for each in state.get("validated_on", [])),
                scrubbed=bool(state.get("scrubbed", False)),
            )
