"""Annotation files as text, JSON or XML: bounded, without entities, every refusal in words."""

from __future__ import annotations

import codecs
import json
import math
from pathlib import Path
from typing import NoReturn, TypeAlias
from xml.etree import ElementTree
from xml.parsers import expat

from mammo_aln.errors import InputError, shortened
from mammo_aln.files import regular_bytes

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

LARGEST_BYTES = 1 << 30
"""A larger file of annotations is none; it would not fit into memory as objects."""
DEEPEST_XML = 200
LARGEST_COORDINATE = 1e6
"""No picture has so many pixels on a side; larger numbers are broken cells or other units."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_bytes(path: Path) -> bytes:
    """Read a regular file of bounded size.

    Raises:
        InputError: no such file, no regular file, unreadable or too large.
    """
    return regular_bytes(path, LARGEST_BYTES)


def read_text(path: Path) -> str:
    """Read text in UTF-8, or in UTF-16 or UTF-32 where a byte-order mark says so.

    Raises:
        InputError: unreadable, or bytes that are no such text.
    """
    content = read_bytes(path)
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise InputError(
            f"{path}: byte {byte:#04x} at {error.start} is no {encoding.removesuffix('-sig').upper()} text: "
            "save the file as UTF-8"
        ) from error
    if "\0" in text:
        raise InputError(f"{path}: holds NUL characters, so it is no text file")
    return text


def parse_json(text: str, path: Path) -> Json:
    """Parse JSON text; `path` stands in messages.

    Raises:
        InputError: no JSON, cut off, too deep, or with NaN or Infinity.
    """

    def refuse(word: str) -> NoReturn:
        raise InputError(f"{path}: holds {word}, which is no number: expected finite numbers")

    try:
        document: Json = json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        cut = "; the file ends too early, as if it was cut off" if error.pos >= len(text.rstrip()) else ""
        raise InputError(f"{path} line {error.lineno}: {error.msg}: expected JSON{cut}") from error
    except RecursionError as error:
        raise InputError(f"{path}: brackets nest too deeply: expected the JSON of an annotation tool") from error
    except ValueError as error:  # an integer of thousands of digits
        raise InputError(f"{path}: a number with too many digits: expected JSON") from error
    return document


def read_json(path: Path) -> Json:
    """Read a JSON file; refusals as in `read_text` and `parse_json`."""
    return parse_json(read_text(path), path)


def read_xml(path: Path) -> ElementTree.Element:
    """Read an XML file without following entities: a document that declares some is refused.

    Raises:
        InputError: unreadable, no well-formed XML, too deep, or with declarations of its own.
    """
    return parse_xml(read_bytes(path), path)


def parse_xml(content: bytes, path: Path) -> ElementTree.Element:
    """Parse XML bytes; refusals as in `read_xml`."""
    depth = 0

    def refuse(*_: object) -> NoReturn:
        raise InputError(f"{path}: declares its own entities (a DTD), which no annotation tool writes; refused")

    def doctype(_name: str, _system: str | None, _public: str | None, internal: bool) -> None:
        if internal:
            refuse()

    def opened(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST_XML:
            raise InputError(f"{path}: elements nest more than {DEEPEST_XML} deep: expected an annotation tool's XML")

    def closed(*_: object) -> None:
        nonlocal depth
        depth -= 1

    try:
        guard = expat.ParserCreate()
        guard.StartDoctypeDeclHandler = doctype
        guard.EntityDeclHandler = refuse
        guard.StartElementHandler = opened
        guard.EndElementHandler = closed
        guard.Parse(content, True)
        return ElementTree.fromstring(content)
    except (expat.ExpatError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise InputError(f"{path}: {error}: expected well-formed XML") from error


def mapping(value: Json, source: str) -> dict[str, Json]:
    """The value as a JSON object, or `InputError`."""
    if not isinstance(value, dict):
        raise InputError(f"{source} = {shortened(value, 60)}: expected an object {{...}}")
    return value


def sequence(value: Json, source: str) -> list[Json]:
    """The value as a JSON array, or `InputError`."""
    if not isinstance(value, list):
        raise InputError(f"{source} = {shortened(value, 60)}: expected a list [...]")
    return value


def number(value: object, source: str, most: float = LARGEST_COORDINATE) -> float:
    """The value as a finite number of at most `most` on either side of 0; text is read with a decimal point.

    Raises:
        InputError: no number, NaN, infinite, or larger.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        numeric = float(value)
    except (ValueError, OverflowError):
        numeric = math.nan
    if not abs(numeric) <= most:
        raise InputError(f"{source} = {shortened(value, 60)}: expected a finite number of at most {most:g}")
    return numeric


def picture_side(value: object, source: str) -> int | None:
    """Rows or columns of a picture as an integer from 1; None where the file leaves it open (absent, empty or 0)."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    pixels = number(value, source)
    if pixels < 0 or pixels != int(pixels):
        raise InputError(f"{source} = {shortened(value, 60)}: expected a whole number of at least 0")
    return int(pixels) or None
