"""The one DICOM file of a multipart/related answer (PS3.18, RFC 2387), in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

MAX_HEAD_BYTES = 1 << 16


class AnswerCutOff(Exception):
    """The answer ended before its closing boundary: the connection was lost, and the request may be repeated."""


class UnexpectedAnswer(Exception):
    """The answer is no single DICOM file; the message says what it is."""


def dicom_file(content_type: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of the DICOM file that an answer holds.

    Args:
        content_type: the answer's Content-Type: `multipart/related` with a boundary, or `application/dicom`.
        blocks: the answer's body.

    Raises:
        AnswerCutOff: the closing boundary is missing.
        UnexpectedAnswer: another kind of content, or not exactly one file.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/dicom":
        yield from blocks
        return
    if kind in ("text/html", "application/xhtml+xml"):
        raise UnexpectedAnswer("a web page came instead of a DICOM file (a log-in page?)")
    boundary = re.search(r'boundary="?([^";]+)"?', content_type, re.IGNORECASE)
    if kind != "multipart/related" or boundary is None:
        raise UnexpectedAnswer(f"content of type {kind or 'unknown'} came instead of a DICOM file")
    yield from _only_file(boundary[1].strip().encode("latin-1"), iter(blocks))


def _only_file(boundary: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    start, end = b"--" + boundary, b"\r\n--" + boundary
    waiting = _read_until(start, b"", blocks)
    waiting = waiting[waiting.index(start) + len(start) :]
    while len(waiting) < 2:
        waiting += _next(blocks)
    if waiting[:2] == b"--":
        raise UnexpectedAnswer("an answer without any file came")
    waiting = _read_until(b"\r\n\r\n", waiting, blocks)
    head, _, waiting = waiting.partition(b"\r\n\r\n")
    kind = re.search(rb"content-type:\s*([^;\r\n]+)", head, re.IGNORECASE)
    if kind is not None and kind[1].strip().lower() != b"application/dicom":
        raise UnexpectedAnswer(f"content of type {kind[1].decode('latin-1').strip()} came instead of a DICOM file")
    while (at := waiting.find(end)) < 0:
        keep = min(len(waiting), len(end) - 1)
        if len(waiting) > keep:
            yield waiting[: len(waiting) - keep]
        waiting = waiting[len(waiting) - keep :] + _next(blocks)
    yield waiting[:at]
    waiting = waiting[at + len(end) :]
    while len(waiting) < 2:
        waiting += _next(blocks)
    if waiting[:2] != b"--":
        raise UnexpectedAnswer("several files came where one was asked for")


def _next(blocks: Iterator[bytes]) -> bytes:
    for block in blocks:
        if block:
            return block
    raise AnswerCutOff


def _read_until(mark: bytes, waiting: bytes, blocks: Iterator[bytes]) -> bytes:
    while mark not in waiting:
        if len(waiting) > MAX_HEAD_BYTES:
            raise UnexpectedAnswer("a multipart answer without its boundary came")
        waiting += _next(blocks)
    return waiting
