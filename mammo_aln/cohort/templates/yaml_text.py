"""Text of a commented cohort.yaml, every guess a line with its reason."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from mammo_aln.cohort.templates.guesses import Guess

UNDECIDED_STATUS, UNDECIDED_SIDE = "write 0 or 1", "write L or R"
"""What stands for values that are not understood: reading refuses it until the user has written what is meant."""
HEAD = """\
name: {name}
# where the paths of images.csv begin
dicom_root: {dicom_root}
"""
MEANING = """\
  # say here how isolated tumour cells count: ypN0(i+) has N stage 0, but is no pathological complete response
  meaning: 1 = residual nodal metastasis after NAT, 0 = ypN0
"""
EXAMPLE = """\
# one entry per clinical column of patients.csv, for example
# clinical:
#   age: {kind: continuous, unit: years, range: [18, 110], known_at: baseline}
#   cT: {kind: ordinal, levels: [1, 2, 3, 4], missing: [9]}
#   her2: {column: HER2 status, kind: categorical, map: {neg: negative, pos: positive}}
# columns of patients.csv that have other names or words in your table, for example
# columns:
#   center: Hospital
#   side: {column: Seite, map: {links: L, rechts: R}}
# columns that are known after NAT or surgery and are never inputs, for example
# outcomes: {rcb_class: post_surgery}
"""


def declaration_text(name: str, dicom_root: str, guesses: Iterable[Guess]) -> str:
    """Write cohort.yaml of the guesses; without any, with examples in comments.

    Args:
        name: the cohort's name.
        dicom_root: where the paths of images.csv begin.
        guesses: the columns of patients.csv; those that are left out are named in comments.
    """
    guesses = list(guesses)
    used = [guess for guess in guesses if not guess.why]
    lines = [HEAD.format(name=json.dumps(name), dicom_root=json.dumps(dicom_root)).rstrip(), "label:"]
    outcome = next((guess for guess in used if guess.role == "outcome"), None)
    lines.append(f"  column: {json.dumps(outcome.header, ensure_ascii=False) if outcome else 'aln_status'}")
    if outcome:
        lines += [
            "  # guess: 1 is metastasis left; exchange the numbers if it is the other way round; '' is unknown",
            f"  map: {_flow(outcome.values | dict.fromkeys(outcome.undecided, UNDECIDED_STATUS))}",
        ]
    lines.append(MEANING.rstrip())
    if not guesses:
        return "\n".join([*lines, EXAMPLE])
    lines += _columns(used)
    lines += _clinical([guess for guess in used if guess.role == "baseline"])
    late = {guess.header: guess.role for guess in used if guess.role in ("post_surgery", "post_nat")}
    if late:
        lines += ["# by their names known after NAT or surgery: never inputs", "outcomes:"]
        lines += [f"  {json.dumps(header, ensure_ascii=False)}: {known_at}" for header, known_at in late.items()]
    lines += [
        f"# left out: {json.dumps(guess.header, ensure_ascii=False)}: {guess.why}" for guess in guesses if guess.why
    ]
    return "\n".join(lines) + "\n"


def _columns(used: list[Guess]) -> list[str]:
    named = [guess for guess in used if guess.role in ("center", "side")]
    lines = ["columns:"] if named else []
    for guess in named:
        values = guess.values | dict.fromkeys(guess.undecided, UNDECIDED_SIDE)
        mapping = f", map: {_flow(values)}" if values else ""
        lines.append(f"  {guess.role}: {{column: {json.dumps(guess.header, ensure_ascii=False)}{mapping}}}")
    return lines


def _clinical(features: list[Guess]) -> list[str]:
    lines = ["# guesses from the values; known_at is when a value is known: baseline, post_nat or post_surgery"]
    lines += ["clinical:"] if features else []
    for guess in features:
        lines += [
            f"  {guess.name}:",
            f"    column: {json.dumps(guess.header, ensure_ascii=False)}",
            f"    kind: {guess.kind}",
        ]
        if guess.kind == "continuous":
            lines.append(f"    unit: {json.dumps(guess.unit, ensure_ascii=False)}" if guess.unit else "    # unit:")
        if guess.levels:
            lines.append(f"    levels: [{', '.join(json.dumps(level, ensure_ascii=False) for level in guess.levels)}]")
        if guess.values:
            lines.append(f"    map: {_flow(guess.values)}")
        lines += [
            f"    # {code}{'' if code.apart else f'; if it is a code: missing: [{code.value}]'}" for code in guess.codes
        ]
        if guess.missing:
            lines.append(f"    missing: [{', '.join(map(json.dumps, guess.missing))}]")
        lines.append("    known_at: baseline")
    return lines


def _flow(values: Mapping[str, str]) -> str:
    pairs = (
        f"{json.dumps(old, ensure_ascii=False)}: {json.dumps(new, ensure_ascii=False)}" for old, new in values.items()
    )
    return f"{{{', '.join(pairs)}}}"
