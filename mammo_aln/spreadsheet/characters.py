"""Characters of names and cells: one Unicode form, ordinary blanks, nothing that the eye cannot see."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from difflib import get_close_matches

BLANKS = re.compile(r"[\s\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
INVISIBLE = re.compile(
    # controls, soft hyphen, combining grapheme joiner, fillers, zero-width and direction marks, variation selectors
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffc\U000e0000-\U000e0fff]"
)
_LATIN = str.maketrans("авекмнорстухіјѕԁαενορτυχκι", "abekmhopctyxijsdaevoptuxki")
"""Small letters of Cyrillic and Greek, as they look in Latin."""
NOT_AVAILABLE = "#N/A"
"""A spreadsheet's own word for a missing value."""
ERRORS = (NOT_AVAILABLE, "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!")
BREAK = re.compile(r"[\t-\r\x85\u2028\u2029]")
REPLACEMENT = "\ufffd"


def tidy(text: str) -> str:
    """Give a cell's text in Unicode's composed form (NFC), every kind of blank as a space, none around it."""
    if text.isascii() and text.isprintable():
        return text.strip()
    return BLANKS.sub(" ", unicodedata.normalize("NFC", text)).strip()


def hidden_character(text: str) -> str | None:
    """Name the first character that nobody sees, or that stands for a lost letter; None where there is none."""
    if text.isascii() and text.isprintable():
        return None
    match = INVISIBLE.search(text)
    character = match.group() if match else REPLACEMENT if REPLACEMENT in text else None
    if character is None:
        return None
    return f"U+{ord(character):04X} {unicodedata.name(character, 'CONTROL CHARACTER')}"


def as_cell(text: str) -> str:
    """Give a header's text as a table can hold it: controls as blanks, `?` for lost letters, nothing invisible.

    A spreadsheet's error (`#REF!`) becomes empty.
    """
    if not (text.isascii() and text.isprintable()):
        text = INVISIBLE.sub(lambda match: " " if match.group() < "\xa0" else "", text).replace(REPLACEMENT, "?")
    text = tidy(text)
    return "" if text in ERRORS else text


def folded(text: str) -> str:
    """Give the form in which names are compared: composed, without case, single spaces.

    The steps are Unicode's caseless matching of canonical equivalents (The Unicode Standard, 3.13, D145).
    """
    decomposed = unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())
    return " ".join(unicodedata.normalize("NFC", BLANKS.sub(" ", decomposed)).split())


def folded_name(text: str) -> str:
    """Give the form in which column names are compared: as `folded`, with blanks, dots and hyphens as underscores."""
    return re.sub(r"[ ._-]+", "_", folded(text)).strip("_")


def letters_alone(text: str) -> str:
    """Give the letters and digits of a name, without case, accents, punctuation or blanks: what look-alikes share."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if character.isalnum())


def likely_name(name: str, names: Sequence[str]) -> str | None:
    """Give the name that is most like one, letters and digits alone compared; None where none is."""
    plain, own = {letters_alone(each): each for each in names}, letters_alone(name)
    containing = [key for key in plain if len(key) > 1 and own and (key.startswith(own) or own.startswith(key))]
    likely = [*sorted(containing, key=len), *get_close_matches(own, list(plain), n=1)]
    return plain[likely[0]] if likely else None


def spellings(values: Iterable[str]) -> dict[str, Counter[str]]:
    """Group values that differ in case, blanks or Unicode form alone: folded form -> spellings with their counts."""
    groups: dict[str, Counter[str]] = {}
    for value, count in Counter(values).items():
        groups.setdefault(folded(value), Counter())[value] += count
    return groups


def one_spelling(values: Iterable[str]) -> dict[str, str]:
    """Map each value to the commonest spelling of its group; of equally common ones, to the first in order."""
    canonical = {}
    for group in spellings(values).values():
        best = min(group, key=lambda value: (-group[value], value))
        canonical.update(dict.fromkeys(group, best))
    return canonical


def look_alikes(names: Iterable[str], plain: Callable[[str], str] = letters_alone) -> list[list[str]]:
    """Group names that an eye takes for one: alike in `plain`, or there but for letters of another script."""
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(plain(name).translate(_LATIN), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def as_listed(value: str, allowed: Collection[str]) -> str:
    """Give the allowed value that a cell stands for: itself, or the only one alike but for case or way of writing."""
    if value in allowed:
        return value
    alike = [name for name in allowed if folded(name) == folded(value)]
    if not alike:
        number = _number(value)
        alike = [name for name in allowed if number is not None and _number(name) == number]
    return alike[0] if len(alike) == 1 else value


def _number(text: str) -> float | None:
    if not re.fullmatch(r"[+-]?\d+(\.\d*)?", text, re.ASCII):
        return None
    return float(text)
