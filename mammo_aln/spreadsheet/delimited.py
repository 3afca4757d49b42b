"""Bytes of a delimited text file as rows of cells: encoding and separator, where only one of each is possible."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass

from mammo_aln.progress import say

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SEP_LINE = re.compile(r'\ufeff?"?sep=(.)"?\r?\n?', re.IGNORECASE)
_WESTERN_LETTERS = re.compile("[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff]")
_WESTERN_SIGNS = set("\u00a0\u00a7\u00b0\u00b1\u00b2\u00b3\u00b5")
WORDS_SHOWN = 5


class UnreadableText(ValueError):
    """Text that has no reading, or two; `column`, `value` and `expected` as in a `BadCell`."""

    def __init__(self, row: int | None, column: str, value: object, expected: str) -> None:
        super().__init__(expected)
        self.row, self.column, self.value, self.expected = row, column, value, expected


@dataclass(frozen=True)
class Records:
    """Rows of cells by the number that a spreadsheet shows, and the mark that separated them."""

    rows: dict[int, list[str]]
    mark: str = ""


def text_of(data: bytes, name: str) -> str:
    """Decode a table's bytes: UTF-8, UTF-16 with a mark or plain Latin letters in it, or Western European.

    Raises:
        UnreadableText: another encoding, or one that cannot be told.
    """
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UnreadableText(None, "format", "a workbook", "a text table, or a workbook named .xlsx")
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise UnreadableText(None, "encoding", "UTF-32", "UTF-8 text")
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if data.startswith(mark):
            return _strict(data[len(mark) :], encoding)
    if b"\x00" in data[:200]:
        # a table's header has Latin letters, each with an empty byte before or after it
        even, odd = data[0:200:2].count(0), data[1:200:2].count(0)
        if min(even, odd) > 0 or max(even, odd) < min(len(data), 200) * 0.35 or len(data) % 2:
            raise UnreadableText(None, "encoding", "bytes of value 0", "UTF-8 text")
        return _strict(data, "utf-16-be" if even else "utf-16-le")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _western(data, name, error)


def _strict(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableText(None, "encoding", f"{encoding}, {error.reason}", "UTF-8 text") from error


def _western(data: bytes, name: str, error: UnicodeDecodeError) -> str:
    """Decode ISO 8859-1, where each further byte is a letter or a sign in a place where one is written."""
    byte = f"byte {error.object[error.start]:#04x}"
    text = data.decode("latin-1")
    words = {word for word in re.split(r"[^\w\u00a0-\u00ff]+", text) if not word.isascii()}
    doubtful = [word for word in sorted(words) if not _is_western(word)]
    if re.search("[\x80-\x9f]", text) or doubtful:
        shown = f"{byte} in {doubtful[0]!r}" if doubtful else byte
        raise UnreadableText(
            None, "encoding", shown, "UTF-8 text; this byte is another letter in each older encoding, so save as UTF-8"
        )
    shown = ", ".join(sorted(words)[:WORDS_SHOWN]) + (", ..." if len(words) > WORDS_SHOWN else "")
    say(f"{name}: not UTF-8; read as Western European (ISO 8859-1): {shown}; if a letter is wrong, save as UTF-8")
    return text


def _is_western(word: str) -> bool:
    """Tell whether a word's letters are mostly plain ones, as in Western languages: no Cyrillic or Greek code page."""
    letters = _WESTERN_LETTERS.findall(word)
    others = [character for character in word if not character.isascii() and character not in letters]
    if any(character not in _WESTERN_SIGNS for character in others) or re.search(r"[A-Za-z]\u00a0[a-z]", word):
        return False
    plain = len(re.findall("[A-Za-z]", word))
    return not letters or (plain >= len(letters) and re.search("[\u00c0-\u00ff]{3}", word) is None)


def records_of(text: str) -> Records:
    """Split a table's text into rows of cells.

    A first line `sep=;`, which Excel reads and does not show, names the separator and is not counted.

    Raises:
        UnreadableText: quotes that do not close, or a header that two separators can split.
    """
    stated = _SEP_LINE.match(text)
    if stated:
        text = text[stated.end() :]
        return _with_separator(text, stated[1])
    read = {mark: _rows(text, mark) for mark in SEPARATORS if mark in text}
    possible = {mark: rows for mark, rows in read.items() if isinstance(rows, list) and len(_header(rows)) > 1}
    if len(possible) > 1:
        # a separator that is one gives every row the same number of cells
        even = {mark: rows for mark, rows in possible.items() if _is_even(rows)}
        if len(even) > 1:
            words = " or ".join(SEPARATORS[mark] for mark in even)
            raise UnreadableText(1, "header", _first_line(text), f"one separator; {words} split this table alike")
        possible = even or possible
    return _with_separator(text, next(iter(possible), ","))


def _with_separator(text: str, mark: str) -> Records:
    rows = _rows(text, mark)
    if isinstance(rows, csv.Error):
        word = SEPARATORS.get(mark, f"{mark!r}")
        raise UnreadableText(None, "format", str(rows), f"CSV with {word} and closed double quotes") from rows
    header = _header(rows)
    if len(header) == 1 and any(other in header[0] for other in SEPARATORS if other != mark or mark == ","):
        raise UnreadableText(1, "header", header[0], "column names separated by commas, outside one pair of quotes")
    return Records(dict(enumerate(rows, start=1)), mark)


def _rows(text: str, mark: str) -> list[list[str]] | csv.Error:
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True))
    except csv.Error as error:
        return error


def _header(rows: list[list[str]]) -> list[str]:
    return next((row for row in rows if any(cell.strip() for cell in row)), [])


def _is_even(rows: list[list[str]]) -> bool:
    return len({len(row) for row in rows if any(cell.strip() for cell in row)}) == 1


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:80]
