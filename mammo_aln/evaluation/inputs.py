"""Inputs that the model saw of the patients judged, as `predict` counted them, beside those of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mammo_aln.evaluation.samples import LEARNT_FROM

CLINICAL = "clinical "
TABLE_FEATURES = ("radiomics_", "deep_")
KINDS = {
    "missing": "",
    "unknown_level": ": level unknown to training",
    "outside_training": ": outside of training's range",
}
MOST_LACKING = 0.2


@dataclass(frozen=True)
class InputLine:
    """One line of the table: an input, and in how many patients of each group it was lacking or strange.

    Attributes:
        words: the input in words.
        training: the same of the training patients, or nothing where that is not known.
        groups: number of such patients, by group.
    """

    words: str
    training: str
    groups: Mapping[str, int]


@dataclass(frozen=True)
class InputsSeen:
    """Inputs of the patients judged.

    Attributes:
        sizes: patients of each group, a split or a split's centre.
        lines: one per input, and per kind of strange value that there was.
        warnings: splits that the run did not learn from, more of whose patients lacked an input than 20 %, or had a
            value outside of training's range or a level unknown to it; and files that state inputs without counts.
    """

    sizes: Mapping[str, int]
    lines: tuple[InputLine, ...]
    warnings: tuple[str, ...]


def merged_inputs(beside: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """Join what the JSONs of several files say of inputs; of the same split and centre the first file's word wins."""
    counts: dict[tuple[str, ...], object] = {}
    training: object = None
    for facts in beside:
        inputs = facts.get("inputs") or {}
        training = training or inputs.get("training")
        splits = {key[0] for key in counts}
        for count in inputs.get("counts") or []:
            if count["split"] not in splits:
                counts[count["split"], count["center"], count["input"], count["kind"]] = count
    return {"training": training, "counts": list(counts.values())} if counts else {}


def seen_inputs(facts: Mapping[str, Any]) -> InputsSeen | None:
    """Lay out what the files say of inputs; None where they say nothing."""
    inputs = facts.get("inputs") or {}
    counts = inputs.get("counts") or []
    uncounted = [
        f"{name}: how many patients were scored without an input is not known: the JSON that `predict` writes beside it"
        " is not there or does not say; its column inputs_seen names what each patient had."
        for name in inputs.get("uncounted") or []
    ]
    if not counts and not uncounted:
        return None
    sizes: dict[str, int] = {}
    centers = {(count["split"], count["center"]): count["of"] for count in counts}
    for split in dict.fromkeys(split for split, _ in centers):
        own = {center: of for (each, center), of in centers.items() if each == split}
        sizes[_spoken(split)] = sum(own.values())
        sizes |= {f"{_spoken(split)}, {center}": of for center, of in own.items()} if len(own) > 1 else {}
    groups: dict[tuple[str, str], dict[str, int]] = {}
    for count in counts:
        own_line = groups.setdefault((count["input"], count["kind"]), dict.fromkeys(sizes, 0))
        for group in (_spoken(count["split"]), f"{_spoken(count['split'])}, {count['center']}"):
            if group in sizes:
                own_line[group] += count["n"]
    training = inputs.get("training") or {}
    lines = tuple(
        InputLine(input_words(name) + KINDS[kind], _of_training(training, name, kind), own)
        for (name, kind), own in groups.items()
    )
    warnings = _warnings(groups, {count["split"] for count in counts}, sizes)
    return InputsSeen(sizes, lines, (*warnings, *uncounted))


def _spoken(split: str) -> str:
    return split.replace("_", " ")


def input_words(name: str) -> str:
    """An input in words."""
    if name == "clinical":
        return "any clinical value"
    return name.removeprefix(CLINICAL) if name.startswith((CLINICAL, *TABLE_FEATURES)) else f"{name} crop"


def _of_training(training: Mapping[str, Any], name: str, kind: str) -> str:
    if kind == "outside_training":
        limits = (training.get("ranges") or {}).get(name.removeprefix(CLINICAL))
        return f"{limits['low']:g} to {limits['high']:g}" if limits else ""
    rows, present = training.get("rows"), (training.get("present") or {}).get(name)
    return "" if rows is None or present is None or kind != "missing" else f"{rows - present} of {rows}"


def _warnings(
    groups: Mapping[tuple[str, str], Mapping[str, int]], splits: set[str], sizes: Mapping[str, int]
) -> list[str]:
    sentences = []
    for (name, kind), own in groups.items():
        for split in map(_spoken, sorted(splits - set(LEARNT_FROM))):
            if own[split] > MOST_LACKING * sizes[split]:
                words = input_words(name)
                lacking = {
                    "missing": f"without {words}",
                    "unknown_level": f"with a level of {words} that no training patient has",
                    "outside_training": f"with {words} outside of training's range",
                }[kind]
                sentences.append(f"{split}: {own[split]} of {sizes[split]} patients were scored {lacking}.")
    return sentences
