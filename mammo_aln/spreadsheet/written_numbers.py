"""Numbers as people write them: decimal commas and marked thousands, where they can be read in one way alone.

What a comma or point means in a cell of three digits after it (`1,234`) is told by the other cells of its column, if
they tell; else the cell has two readings and is none.
"""

from __future__ import annotations

import re

import pandas as pd

from mammo_aln.spreadsheet.missing import MISSING_WORDS

_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_EXPONENT = r"(?P<exponent>[eE][+-]?\d+)?"
_GROUPED = re.compile(r"[+-]?\d{1,3}(?P<mark>[ '\u2019.,])\d{3}((?P=mark)\d{3})*", re.ASCII)
_DECIMAL_COMMA = re.compile(rf"[+-]?(\d*),(\d+){_EXPONENT}", re.ASCII)
_GROUPS_AND_DECIMAL = re.compile(
    r"(?P<whole>[+-]?\d{1,3}((?P<mark>[ '\u2019.,])\d{3})((?P=mark)\d{3})*)(?P<decimal>[.,])(?P<rest>\d+)", re.ASCII
)
_ONE_GROUP = re.compile(r"[+-]?[1-9]\d{0,2}(?P<mark>[.,])\d{3}", re.ASCII)
_POINT_GROUP = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}", re.ASCII)
_POINT = re.compile(r"[+-]?(0?\.\d+|0\.\d+|\d+\.(\d{1,2}|\d{4,})|\d{4,}\.\d+)", re.ASCII)
LONGEST_NUMBER = 40
_MARKS = re.compile(r"[ '\u2019.,]")


def numbers(cells: pd.Series) -> pd.Series:
    """Read a column's numbers; NaN where a cell is empty, no number, or one of two readings (`1,234`).

    Args:
        cells: text, or numbers already.

    Returns:
        float, indexed as `cells`.
    """
    if pd.api.types.is_numeric_dtype(cells):
        return cells.astype(float)
    marked = _marked(cells)
    if not marked.any():
        return pd.to_numeric(cells, errors="coerce").astype(float)
    roles = _roles(cells[marked])
    read = cells.astype(object)
    read[marked] = [_plain(text, roles) for text in cells[marked]]
    return pd.to_numeric(read, errors="coerce").astype(float)


def two_readings(cells: pd.Series) -> pd.Series:
    """Tell which cells of a column are a number in two readings, and nothing tells which: bool, indexed as `cells`."""
    ambiguous = pd.Series(False, cells.index)
    if pd.api.types.is_numeric_dtype(cells):
        return ambiguous
    marked = _marked(cells)
    if not marked.any():
        return ambiguous
    roles = _roles(cells[marked])
    groups = {text for text in cells[marked] if _ONE_GROUP.fullmatch(text) and _plain(text, roles) is None}
    return cells.isin(list(groups))


def point_doubts(table: pd.DataFrame, by_commas: bool) -> dict[str, pd.Series]:
    """Cells such as `1.234` that may be thousands: nothing in their table shows that a point marks decimals.

    Args:
        table: text.
        by_commas: commas separate its cells, so that numbers have decimal points unless one shows a decimal comma.

    Returns:
        bool by column of numbers that holds such cells, indexed as `table`.
    """
    columns = {str(name): table[name] for name in table.columns if not str(name).endswith("_id")}
    present = {name: [text for text in cells if isinstance(text, str) and text] for name, cells in columns.items()}
    commas = any((",", "decimal") in _roles(pd.Series(texts)) for texts in present.values() if _any_comma(texts))
    points = by_commas or any(_POINT.fullmatch(text) for texts in present.values() for text in texts)
    if points and not commas:
        return {}
    doubts = {}
    for name, texts in present.items():
        is_group = columns[name].map(lambda text: isinstance(text, str) and bool(_POINT_GROUP.fullmatch(text)))
        if is_group.any() and all(_PLAIN.fullmatch(text) or text.lower() in MISSING_WORDS for text in texts):
            doubts[name] = is_group.astype(bool)
    return doubts


def _any_comma(texts: list[str]) -> bool:
    return any("," in text and len(text) < LONGEST_NUMBER for text in texts)


def _marked(cells: pd.Series) -> pd.Series:
    """Cells whose marks need a thought: a comma, a blank, an apostrophe, several points, or one before three digits."""
    return cells.map(
        lambda text: (
            isinstance(text, str)
            and text[:1] in "+-0123456789.,"
            and (_PLAIN.fullmatch(text) is None or _ONE_GROUP.fullmatch(text) is not None)
        )
    ).astype(bool)


def _roles(cells: pd.Series) -> set[tuple[str, str]]:
    """Roles that cells give to `,` and `.`: thousands, decimal, or either of them."""
    roles = set()
    for text in cells:
        match = _GROUPS_AND_DECIMAL.fullmatch(text)
        if match and match["mark"] != match["decimal"]:
            roles |= {(match["mark"], "thousands"), (match["decimal"], "decimal")}
        elif (match := _GROUPED.fullmatch(text)) and len(_MARKS.findall(text)) > 1:
            roles.add((match["mark"], "thousands"))
        elif _DECIMAL_COMMA.fullmatch(text):
            roles.add((",", "either" if _ONE_GROUP.fullmatch(text) else "decimal"))
    return roles


def _plain(text: str, roles: set[tuple[str, str]]) -> str | None:
    """Write one number with a decimal point and nothing else; None where it is none or has two readings."""
    if match := _ONE_GROUP.fullmatch(text):
        return _by_role(text, match["mark"], roles)
    if _PLAIN.fullmatch(text):
        return text
    if _DECIMAL_COMMA.fullmatch(text):
        return text.replace(",", ".")
    if text.lstrip("+-").startswith("0"):  # no group of thousands begins so
        return None
    if _GROUPED.fullmatch(text):
        return _MARKS.sub("", text)
    match = _GROUPS_AND_DECIMAL.fullmatch(text)
    if match and match["mark"] != match["decimal"]:
        return f"{_MARKS.sub('', match['whole'])}.{match['rest']}"
    return None


def _by_role(text: str, mark: str, roles: set[tuple[str, str]]) -> str | None:
    decimal, thousands = (mark, "decimal") in roles, (mark, "thousands") in roles
    if decimal and not thousands:
        return text.replace(mark, ".")
    if thousands and not decimal:
        return text.replace(mark, "")
    # a point is a decimal one unless the column says otherwise
    commas = {role for other, role in roles if other == ","}
    return text if mark == "." and not thousands and commas <= {"thousands"} else None
