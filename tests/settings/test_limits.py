"""Every number that a user may set has limits on both sides, and no text that a user may set ends a line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from mammo_aln import verbs
from mammo_aln.cli import VERBS, main
from mammo_aln.errors import InputError
from mammo_aln.settings import ClusterConfig, FitConfig, PretrainSettings, RadiomicsConfig, Settings
from mammo_aln.settings.limits import limits_of, refuse_outside_limits
from mammo_aln.settings.parse import settings_from

ABSURD = (math.nan, math.inf, -math.inf, 1e300, -1e300, 10**30, -1)
SIGNED = {"bin_origin", "resegment_range"}
"""Intensities, which may lie below 0."""
OWN_CHECK = {"seeds"}
"""A count or a list, which the sweep's reader bounds."""


def owners() -> Iterator[Any]:
    pending: list[Any] = [*(getattr(verbs, name) for name, _, _ in VERBS.values()), PretrainSettings]
    while pending:
        owner = pending.pop()
        yield owner
        pending += [hint for hint in get_type_hints(owner).values() if is_dataclass(hint)]


def is_numeric(hint: Any) -> bool:
    return hint in (int, float) or any(map(is_numeric, get_args(hint)))


def numeric() -> Iterator[tuple[Any, str]]:
    for owner in {owner.__name__: owner for owner in owners()}.values():
        for name, hint in get_type_hints(owner).items():
            mapping = str(hint).startswith("dict")
            if name not in (*OWN_CHECK, "return") and not is_dataclass(hint) and is_numeric(hint) and not mapping:
                yield owner, name


@pytest.mark.parametrize(("owner", "name"), list(numeric()), ids=lambda value: getattr(value, "__name__", value))
def test_every_number_has_limits(owner: Any, name: str) -> None:
    limits = limits_of(owner)
    assert name in limits
    for value in ABSURD[: -1 if name in SIGNED else None]:
        several = "tuple" in str(get_type_hints(owner)[name])
        assert not limits[name].allows((value,) if several else value), value


def test_defaults_are_within_their_limits() -> None:
    for kind in (Settings, PretrainSettings, ClusterConfig, FitConfig, RadiomicsConfig):
        refuse_outside_limits(kind, vars(kind()))


def test_a_line_without_a_value_is_refused_for_every_setting() -> None:
    """YAML reads `size_mm:` as null, which no setting with a default means."""
    count = 0
    for field in fields(Settings):
        section = getattr(Settings(), field.name)
        for name in get_type_hints(type(section)) if is_dataclass(section) else ():
            with pytest.raises(InputError, match=rf"^x: {field.name}\.{name}: expected a value, got null"):
                settings_from(Settings, {field.name: {name: None}}, "x")
            count += 1
    assert count > 60
    refuse_outside_limits(ClusterConfig, {**vars(ClusterConfig()), "partition": None})
    with pytest.raises(InputError, match="job_name: expected a value, got null"):
        refuse_outside_limits(ClusterConfig, {"job_name": None})


@pytest.mark.parametrize("text", ["a\nrm -rf /", "a\r", "a\0", "a\x1b[2J", "a\u2028b", "a\x7f", "a\udc80"])
def test_control_characters_are_refused_in_every_text(text: str) -> None:
    count = 0
    for kind in (Settings, ClusterConfig, FitConfig, RadiomicsConfig):
        plain = kind()
        sections = [getattr(plain, field.name) for field in fields(plain)] if kind is Settings else [plain]
        for section in filter(is_dataclass, sections):
            hints = get_type_hints(type(section))
            for name in [name for name, hint in hints.items() if hint is str or str in get_args(hint)]:
                value: Any = (
                    (text,) if "tuple" in str(hints[name]) else {text: 1} if "dict" in str(hints[name]) else text
                )
                spoilt: Any = replace(section, **{name: value})
                with pytest.raises(InputError, match=rf"{name}: expected text without control characters"):
                    refuse_outside_limits(
                        type(section), {field.name: getattr(spoilt, field.name) for field in fields(spoilt)}
                    )
                count += 1
    assert count > 15
    nested = ClusterConfig(where={"pretrain": {"partition": text}}, extra={"comment": [text]})
    with pytest.raises(InputError, match=r"where: .*; extra: "):
        refuse_outside_limits(ClusterConfig, vars(nested))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "c", "--out", "o", "--optim.lr=1e300"], "optim.lr: expected 1e-10 to 100, got 1e+300"),
        (["train", "c", "--out", "o", "--optim.lr=1e-300"], "optim.lr: expected 1e-10 to 100, got 1e-300"),
        (["train", "c", "--out", "o", "--trainer.max_epochs=1000000000"], "expected 1 to 100000, got 1000000000"),
        (["train", "c", "--out", "o", "--data.folds=1000000000"], "data.folds: expected 0 (the split column), or 2 to"),
        (["train", "c", "--out", "o", "--log.project=a\nb"], "log.project: expected text without control characters"),
        (
            ["sweep", "run", "s", "--cohort=c", "--out=o", "--cluster.partition=a\nb"],
            "cluster.partition: expected text",
        ),
        (
            ["radiomics", "extract", "c", "--out=f", "--radiomics.bin_width=.nan"],
            "bin_width: expected",
        ),
        (
            ["radiomics", "extract", "c", "--out=f", "--radiomics.rings_mm=[1e300]"],
            "rings_mm: expected each 0.1 to 100 mm",
        ),
        (["radiomics", "fit", "c", "--out=f", "--fit.repeats=1000000000"], "fit.repeats: expected 1 to 1000"),
        (["explain", "c", "--run=r\0", "--out=f"], "run: expected text without control characters"),
    ],
)
def test_the_command_line_says_it_in_one_line(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
