"""Form of the JSON beside a predictions file, as far as an evaluation reads it: one table, checked once at the door."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Form: TypeAlias = "Callable[[object], bool] | type | Mapping[str, Form] | list[Form]"
"""A kind of value, a mapping by its names (`*` for any; `?` behind a name: it may be absent), a list of one form."""


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _opening(value: object) -> bool:
    """Tell whether a split's opening is told as ledgers of some version told it."""
    if misfit(value, _OPENING) or not isinstance(value, dict):
        return False
    needs = {"runs_before": ("time", "by_this_run", "contents", "declared"), "declared": ("plan_time", "plan_what")}
    stated = [name for name in needs if value.get(name) is not None and value[name] is not False]
    return all(value.get(name) is not None for first in stated for name in needs[first])


_BEFORE: Form = {"patients": int, "split": str, "by": str, "run_id": str, "time": str}
_PAST: Form = {
    **{"begins": str, "trained?": str, "lost": int, "broken": int, "under_other_names": int, "patients": int},
    "before": [_BEFORE],
}
_TEXTS = ("time", "plan_time", "plan_what", "choice_time", "opened_before_plan_time")
_COUNTS = ("opened", "runs_before", "by_this_run", "contents", "opened_before_plan", "opened_before_choice")
_OPENING: Form = {
    **{f"{name}?": str for name in _TEXTS},
    **{f"{name}?": int for name in _COUNTS},
    "past?": _PAST,
}
_COUNT: Form = {"split": str, "center": str, "input": str, "kind": str, "n": int, "of": int}
_LIMITS: Form = {"low": _number, "high": _number}
_TRAINING: Form = {"rows?": int, "present?": {"*": int}, "ranges?": {"*": _LIMITS}}
FORM: Mapping[str, Form] = {
    "settings?": {"model?": {"inputs?": [str]}, "crop?": {}},
    "recipe?": {},
    "outcome?": {},
    "splits?": {"*": _opening},
    "cohort_flow?": [{"excluded?": {}}],
    "fallbacks?": {"*": {"*": int}},
    "calibration?": {},
    "members?": [str],
    "lineage?": [{}],
    "warnings?": [str],
    "notes?": [str],
    "methods?": [str],
    "answers?": {"*": str},
    "timing?": {"inputs?": str, "kept?": str},
    "leaks?": {"counts": {}, "reason": str},
    "environment?": {},
    "model_card?": {},
    "inputs?": {"counts?": [_COUNT], "training?": _TRAINING, "uncounted?": [str]},
}


def misfit(value: Any, form: Form = FORM, name: str = "") -> str:
    """Name what does not fit its form, from the outside in; nothing where all does."""
    if isinstance(form, list):
        if not isinstance(value, list):
            return name
        return next((wrong for each in value if (wrong := misfit(each, form[0], f"{name}[]"))), "")
    if isinstance(form, Mapping):
        if not isinstance(value, dict):
            return name
        for key, inner in form.items():
            own = key.removesuffix("?")
            if key == "*":
                wrongs = (misfit(one, inner, f"{name}.{each}") for each, one in value.items())
                inside = next(filter(None, wrongs), "")
            elif value.get(own) is None:
                inside = "" if key.endswith("?") else f"{name}.{own}"
            else:
                inside = misfit(value[own], inner, f"{name}.{own}".lstrip("."))
            if inside:
                return inside
        return ""
    fits = isinstance(value, form) if isinstance(form, type) else form(value)
    return "" if fits else name
