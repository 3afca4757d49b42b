"""Guesses of what a clinical table's columns are: kind, levels, unit, codes for missing. Each has its words."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from mammo_aln.cohort.declaration import DECLARATION_FILE
from mammo_aln.cohort.templates.column_names import (
    Role,
    feature_name,
    is_count,
    is_ordered,
    legend_of,
    means_no_metastasis,
    role_of,
    unit_of,
)
from mammo_aln.cohort.values.codes import Code, codes_of
from mammo_aln.spreadsheet.characters import folded, one_spelling
from mammo_aln.spreadsheet.missing import is_missing_word
from mammo_aln.spreadsheet.written_numbers import numbers, two_readings

Kind = Literal["continuous", "ordinal", "categorical", "date", "text", "empty"]
DATE = re.compile(r"\d{4}-\d\d?-\d\d?([ T]\d\d:\d\d.*)?|\d{1,2}[./-]\d{1,2}[./-](\d{4}|\d\d)|\d{8}")
STAGE = re.compile(r"(yp|c|p)?[TN]?(is|x|[0-4])[a-d]?|[IV]{1,3}", re.IGNORECASE)
SIDES = dict.fromkeys(
    ("l", "left", "lt", "links", "li", "gauche", "g", "sinistra", "sx", "izquierda", "esquerda"), "L"
) | dict.fromkeys(("r", "right", "rt", "rechts", "re", "droite", "d", "destra", "dx", "derecha", "direita"), "R")
YES = {"1", "yes", "y", "true", "ja", "oui", "si"}
NO = {"0", "no", "n", "false", "nein", "non"}
AMBIGUOUS_PRESENT = {"+", "positive", "pos", "positiv", "positif"}
AMBIGUOUS_ABSENT = {"negative", "neg", "negativ", "negatif", "n\u00e9gatif"}
PRESENT = AMBIGUOUS_PRESENT | {"n+", "node positive", "residual", "residual disease", "metastasis", "metastases"}
PRESENT |= {"involved", "befallen", "non pcr", "no pcr", "kein pcr", "keine pcr"}
ABSENT = AMBIGUOUS_ABSENT | {
    "n-",
    "node negative",
    "node free",
    "free",
    "frei",
    "tumorfrei",
    "tumour free",
    "tumor free",
}
ABSENT |= {"pcr", "complete", "complete response", "no metastasis", "no residual disease"}
AMBIGUOUS = AMBIGUOUS_PRESENT | AMBIGUOUS_ABSENT
"""Words that may speak of the response as well as of the node, where a yes means that no metastasis is left."""
MOST_NODES = 60
MOST_LEVELS = 12
FEW_NUMBERS = 5


@dataclass(frozen=True)
class Guess:
    """One column as it is understood.

    Args:
        header: its name in the table.
        role: what it is.
        kind: its values.
        name: what the feature is called.
        levels: its values, in order where ordinal.
        unit: unit that the header states.
        values: value of the table -> value that is read.
        undecided: values of the side or the outcome of which the user has to say what they mean.
        codes: values that look like codes for missing.
        why: reason why it is left out; empty where it is not.
    """

    header: str
    role: Role
    kind: Kind
    name: str
    levels: tuple[str, ...] = ()
    unit: str | None = None
    values: dict[str, str] = field(default_factory=dict)
    undecided: tuple[str, ...] = ()
    codes: tuple[Code, ...] = ()
    why: str = ""

    @property
    def missing(self) -> list[str]:
        """Codes that cannot be values, as they lie apart from all others."""
        return [code.value for code in self.codes if code.apart]


def guess_column(header: str, cells: pd.Series, taken: set[str]) -> Guess:
    """Guess what one column of a clinical table is.

    Args:
        header: its name.
        cells: its text.
        taken: names of features so far; the new one is added.
    """
    role = role_of(header)
    present = cells.dropna().astype(str)
    present = present[~present.map(is_missing_word).astype(bool)]
    if role == "person":
        return Guess(header, role, "text", header, why="it may identify a person, or is a remark")
    if present.empty:
        return Guess(header, role, "empty", header, why="it is empty")
    if all(DATE.fullmatch(value) for value in present) and not _are_plain_numbers(present):
        why = "" if role == "nat_start" else "it holds dates, which identify"
        return Guess(header, role, "date", header, why=why)
    if role == "nat_start":
        return Guess(header, role, "text", header, why="the start of NAT is not written as dates")
    if role == "side":
        return _side(header, present)
    if role == "outcome":
        return _outcome(header, present)
    if role == "center":
        return Guess(header, role, "categorical", header)
    return _feature(header, role, present, taken)


def _are_plain_numbers(present: pd.Series) -> bool:
    dated = present.str.match(r"(19|20)\d\d(0[1-9]|1[0-2])").all()
    return bool(present.str.fullmatch(r"\d{8}").all() and not dated)


def _side(header: str, present: pd.Series) -> Guess:
    legend = legend_of(header)
    words = {value: folded(legend.get(_code(value), value)).rstrip(".") for value in dict.fromkeys(present)}
    values = {value: SIDES[word] for value, word in words.items() if word in SIDES}
    undecided = tuple(value for value in words if value not in values)
    return Guess(header, "side", "categorical", header, values=values, undecided=undecided)


def _code(value: str) -> str:
    return folded(value).removesuffix(".0")


def _outcome(header: str, present: pd.Series) -> Guess:
    """Map the outcome: 1 = metastasis left. What is not understood is for the user to write, and refused at reading."""
    free_if_yes, legend = means_no_metastasis(header), legend_of(header)
    texts = {value: folded(legend.get(_code(value), _code(value))) for value in dict.fromkeys(present)}
    digits = {text for text in texts.values() if text.isdigit()}
    # 1 and 2 without 0 are codes of which nobody knows which is which
    is_stage = not legend and free_if_yes is False and "0" in digits and bool(digits & {"2", "3"})
    counted = is_count(header) and not legend and "0" in digits
    read = {value: _status(text, free_if_yes, is_stage, counted) for value, text in texts.items()}
    if digits and not legend and "0" not in digits and len(digits) > 1:
        read = {value: None if text.isdigit() else read[value] for value, text in texts.items()}
    if set(legend) & {_code(value) for value in texts}:  # a legend that names one of two codes leaves the other open
        read = {value: None if text.isdigit() else read[value] for value, text in texts.items()}
    values = {value: status for value, status in read.items() if status is not None}
    undecided = tuple(value for value in read if value not in values)
    if not values and len(undecided) > MOST_LEVELS:
        why = f"its values are not those of an outcome ({len(undecided)} different ones)"
        return Guess(header, "outcome", "text", header, why=why)
    return Guess(header, "outcome", "categorical", header, values=values, undecided=undecided)


def _status(text: str, free_if_yes: bool | None, is_stage: bool, is_counted: bool) -> str | None:
    """Read one value of the outcome: 1, 0, or None where the user has to say."""
    words = " ".join(re.sub(r"[_-](?=\w)", " ", text).split())
    stage = re.fullmatch(r"(yp?n?|n)? ?([0-3]|\+)(?:mi|\(mi\)|[a-c])?(?:\(sn\)|\(i-\))?( ?\(\d+/\d+\))?", text)
    if stage is not None and (stage[1] or is_stage):
        return "0" if stage[2] == "0" else "1"
    if is_counted and text.isdigit() and int(text) <= MOST_NODES:
        return "0" if int(text) == 0 else "1"
    if words in YES | NO and free_if_yes is not None:
        return "1" if (words in YES) != free_if_yes else "0"
    if words in PRESENT | ABSENT and (free_if_yes is False or words not in AMBIGUOUS):
        return "1" if words in PRESENT else "0"
    return None


def _feature(header: str, role: Role, present: pd.Series, taken: set[str]) -> Guess:
    values = numbers(present)
    doubtful = two_readings(present)
    if doubtful.any():
        why = f"{present[doubtful].iloc[0]!r} is a number in two readings; write it without a mark for thousands"
        return Guess(header, role, "text", header, why=why)
    if np.isfinite(values).all():
        codes = codes_of(header, present, True)
        apart = {float(code.value) for code in codes if code.apart}
        real = values[~values.isin(apart)]
        distinct = sorted(set(real))
        if len(distinct) > FEW_NUMBERS or any(not value.is_integer() for value in distinct):
            return Guess(
                header, role, "continuous", feature_name(header, taken), (), unit_of(header), codes=tuple(codes)
            )
    words = one_spelling(present)
    codes = codes_of(header, present.map(words), False)
    levels = [
        level for level in dict.fromkeys(words.values()) if level not in {code.value for code in codes if code.apart}
    ]
    is_number = [re.fullmatch(r"-?\d+([.,]\d+)?", level) is not None for level in levels]
    if not all(is_number) and sum(is_number) > 2:
        strange = [level for level, number in zip(levels, is_number, strict=True) if not number]
        why = f"numbers and words are mixed ({', '.join(map(repr, strange[:3]))}); map the words"
        return Guess(header, role, "text", header, why=why)
    if len(levels) < 2:
        return Guess(header, role, "text", header, why=f"it says {levels[0] if levels else 'one code'!r} alone")
    staged = all(STAGE.fullmatch(level) for level in levels) and (len(levels) > 2 or is_ordered(header))
    ordered = (staged and not all(is_number)) or (all(is_number) and is_ordered(header))
    if len(levels) > MOST_LEVELS or (not ordered and len(levels) > 2 and len(levels) > len(present) / 2):
        return Guess(header, role, "text", header, why=f"{len(levels)} different texts are no levels")
    ordinal: Kind = (
        "ordinal" if ordered and not any(re.search("x$", level, re.I) for level in levels) else "categorical"
    )
    same = _one_stage(levels, Counter(present)) if staged and not all(is_number) else {}
    levels = [level for level in levels if level not in same]
    name = feature_name(header, taken)
    return Guess(header, role, ordinal, name, tuple(sorted(levels, key=_stage_order)), values=same, codes=tuple(codes))


def _one_stage(levels: list[str], counts: Counter[str]) -> dict[str, str]:
    """Map spellings of one stage (`cT2`, `T2`, `2`) to the commonest."""
    groups: dict[str, list[str]] = {}
    for level in sorted(levels, key=lambda level: -counts[level]):
        groups.setdefault(re.sub("^[cp]?[TN]?(?=[0-4xi])", "", level, flags=re.I).casefold(), []).append(level)
    return {other: first for first, *others in groups.values() for other in others}


def _stage_order(level: str) -> tuple[float, str]:
    if re.fullmatch("[IV]+", level):
        return (float({"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5}.get(level, 9)), level)
    number = re.search(r"\d+([.,]\d+)?", level)
    return (
        float(number.group().replace(",", ".")) if number else 0.5 if "is" in level.lower() else -1.0,
        level.lower(),
    )


def guess_words(guess: Guess, present: Counter[str]) -> str:
    """Say in one line what a column is taken for."""
    shown = ", ".join(f"{value} ({count})" for value, count in present.most_common(4))
    if guess.why:
        return f"{guess.header!r}: left out, {guess.why}"
    if guess.role == "nat_start":
        return f"{guess.header!r}: the day NAT began, written as nat_start_day"
    if guess.role == "center":
        return f"{guess.header!r}: the centre: {shown}"
    mapping = ", ".join(f"{old} = {new}" for old, new in guess.values.items())
    if guess.undecided:
        values = ", ".join(map(repr, guess.undecided))
        mapping = f"{mapping or 'which values are which is not understood'}; for {values} write in {DECLARATION_FILE}"
        mapping += " what each means"
    if guess.role == "side":
        return f"{guess.header!r}: the treated side: {mapping}"
    if guess.role == "outcome":
        return f"{guess.header!r}: the outcome: {mapping} (1 = metastasis left after NAT)"
    if guess.role in ("post_surgery", "post_nat"):
        return f"{guess.header!r}: known {guess.role.replace('_', ' ')} by its name, so never an input"
    unit = f", in {guess.unit}" if guess.unit else ""
    levels = f": {', '.join(guess.levels)}" + (f"; {mapping}" if mapping else "") if guess.levels else unit
    return f"{guess.header!r}: {guess.name}, {guess.kind}{levels}"
