"""Deflated data sets: no more of one is inflated than an image of its declared size can need.

A few megabytes of deflated zeros grow to gigabytes. This module imports little: the processes of a pool read with it.
"""

from __future__ import annotations

import zlib
from typing import BinaryIO

SYNTAX = b"1.2.840.10008.1.2.1.99"
MOST_INFLATED_BYTES = 1 << 24
"""What a deflated header may grow to; its pixels come behind it."""
STEP_BYTES = 1 << 16
MOST_ELEMENTS = 100_000
"""On the top level; a mammogram has some hundreds, a minute's work for a parser are millions."""
PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
META_BYTES = 1 << 12
"""A file meta group is shorter by far."""


def deflated_from(file: BinaryIO) -> int | None:
    """Find where the deflated data set of a file begins; None for a file of another transfer syntax.

    The file is left at its beginning.
    """
    file.seek(0)
    head = file.read(META_BYTES)
    file.seek(0)
    at, deflated = 132, False
    if head[128:132] != b"DICM":
        return None
    while head[at : at + 2] == b"\x02\x00":
        long = head[at + 4 : at + 6] in (b"OB", b"UN")
        begin = at + (12 if long else 8)
        length = int.from_bytes(head[at + 8 : at + 12] if long else head[at + 6 : at + 8], "little")
        if head[at + 2 : at + 4] == b"\x10\x00":
            deflated = head[begin : begin + length].strip(b" \0") == SYNTAX
        at = begin + length
    return at if deflated else None


def inflated(file: BinaryIO, start: int, most_bytes: int) -> bytes:
    """Inflate a data set from its beginning, at most so many bytes of it, however much it would grow to."""
    file.seek(start)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = bytearray()
    while len(data) < most_bytes and not inflater.eof:
        waiting = inflater.unconsumed_tail or file.read(STEP_BYTES)
        if not waiting:
            break
        data += inflater.decompress(waiting, min(1 << 20, most_bytes - len(data)))
    return bytes(data)


class TooManyElementsError(Exception):
    """A header has more elements than any image's."""


class HeaderEnd:
    """Stops a parser at pixel data, in whichever of its three kinds; an endless row of tiny elements is an error."""

    def __init__(self) -> None:
        self._elements = 0

    def __call__(self, tag: int, *_: object) -> bool:
        """Test that the next element is pixel data."""
        self._elements += 1
        if self._elements > MOST_ELEMENTS:
            raise TooManyElementsError(f"more than {MOST_ELEMENTS} elements")
        return tag in PIXEL_TAGS
