"""JPEG 2000 codestreams: decoded so that damage is told, as far as a format without a checksum lets it be seen.

The arithmetic decoder of a sound code block ends where its bytes end; damage lets it stop early, or run on beyond them.
OpenJPEG says so of code blocks whose style declares a predictable end; a bit in the header, which alters no value,
declares it. Codestreams whose code blocks have ends of other kinds (bypass, an end for each pass, HTJ2K) are looked at
from outside alone: marker segments and tile-parts that add up, no marker and no long run of zeros within a tile-part.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

import imagecodecs
import numpy as np

MOST_LEFT_BYTES, MOST_READ_BEYOND = 4, 32
"""Sound files of four encoders leave no byte of a code block, and read 8 beyond it at most."""
LEAST_ZEROS = 512
"""So many zero bytes, or as many as a tile has packets (an empty one is a zero byte), are no packets."""

SIZ, COD, COC, SOT, SOD, EOC = 0x51, 0x52, 0x53, 0x90, 0x93, 0xD9
_MARKER = re.compile(b"\xff[\x90\x93-\xff]")
"""What no packet holds: after 0xFF, bit stuffing lets no byte above 0x8F follow, but for SOP (FF91) and EPH (FF92)."""
_BYPASS, _END_EACH_PASS, _PREDICTABLE_END, _HIGH_THROUGHPUT = 0x01, 0x04, 0x10, 0x40
_ENDS = re.compile(r"(\d+) (remaining bytes|synthesized)")
_DAMAGE = re.compile(
    r"segment too long|Expected (SOP|EPH)|Not enough space for|inconsistent with stream|too short|Missing"
)


class DamagedCodestream(BaseException):
    """Damage that a decoder, or the codestream itself, shows; no `Exception`, lest a laxer decoder has its turn."""


def decoded(source: bytes) -> np.ndarray:
    """Decode a JPEG 2000 codestream.

    Raises:
        DamagedCodestream: the codestream shows damage; where, and which.
    """
    refuse_damaged(source)
    with _messages() as messages:
        try:
            image = imagecodecs.jpeg2k_decode(_with_predictable_ends(source), numthreads=1, verbose=2)
        except imagecodecs.Jpeg2kError as error:
            raise DamagedCodestream("; ".join([str(error), *messages[:1]])) from error
    if damage := [message for message in messages if _tells_damage(message)]:
        raise DamagedCodestream(f"the decoder says {len(damage)} times: {damage[0]}")
    return image


def decoded_htj2k(source: bytes) -> np.ndarray:
    """Decode an HTJ2K codestream; imagecodecs prints OpenJPH's errors and hands on memory that nothing was written to.

    Raises:
        DamagedCodestream: the codestream shows damage, or OpenJPH fails.
    """
    refuse_damaged(source)
    failures: list[str] = []
    before, sys.unraisablehook = sys.unraisablehook, lambda failure: failures.append(str(failure.exc_value))
    try:
        image = imagecodecs.htj2k_decode(source)
    finally:
        sys.unraisablehook = before
    if failures:
        raise DamagedCodestream(f"OpenJPH fails: {failures[0]}")
    return image


@contextmanager
def _messages() -> Iterator[list[str]]:
    """Collect what OpenJPEG says, which imagecodecs logs, in offset of handing it on."""
    log, messages = logging.getLogger("imagecodecs"), list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    before = log.level, log.propagate, log.handlers, log.disabled, log.manager.disable
    log.propagate, log.handlers, log.disabled = False, [handler], False
    log.manager.disable = 0
    log.setLevel(logging.DEBUG)
    try:
        yield messages
    finally:
        level, log.propagate, log.handlers, log.disabled, log.manager.disable = before
        log.setLevel(level)


def _tells_damage(message: str) -> bool:
    if ends := _ENDS.search(message):
        return int(ends[1]) > (MOST_LEFT_BYTES if ends[2].startswith("rem") else MOST_READ_BEYOND)
    return _DAMAGE.search(message) is not None


def _segments(source: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Yield marker and position of each segment of a header, up to and with SOT or SOD."""
    while True:
        if at + 2 > len(source) or source[at] != 0xFF:
            raise DamagedCodestream(f"byte {at}: no marker stands where one is due")
        marker = source[at + 1]
        yield marker, at
        if marker in (SOT, SOD):
            return
        at += 2 + max(2, _number(source, at + 2, 2))


def _number(source: bytes, at: int, size: int) -> int:
    return int.from_bytes(source[at : at + size], "big")


def _start(source: bytes) -> int:
    start = source.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0:
        raise DamagedCodestream("no JPEG 2000 codestream (SOC and SIZ are missing)")
    return start


def _with_predictable_ends(source: bytes) -> bytes:
    """The codestream with the bit that makes OpenJPEG look at the ends of code blocks, in COD and COC."""
    at = {COD: 12, COC: 9 if _number(source, _start(source) + 40, 2) < 257 else 10}
    styles = [offset + at[marker] for marker, offset in _segments(source, _start(source) + 2) if marker in at]
    if any(source[style] & (_BYPASS | _END_EACH_PASS | _HIGH_THROUGHPUT) for style in styles):
        return source
    changed = bytearray(source)
    for style in styles:
        changed[style] |= _PREDICTABLE_END
    return bytes(changed)


def refuse_damaged(source: bytes) -> None:
    """Look at a codestream from outside: its marker segments, and what no packet holds.

    Raises:
        DamagedCodestream: where, and what.
    """
    header: dict[int, int] = {}
    for marker, offset in _segments(source, _start(source) + 2):
        header.setdefault(marker, offset)
    at = header.get(SOT, len(source))
    zeros = bytes(max(LEAST_ZEROS, _most_packets(source, header)) + 1)
    while source[at : at + 2] == bytes((0xFF, SOT)):
        length = _number(source, at + 6, 4)
        end = at + length if length else source.rfind(bytes((0xFF, EOC)))
        if not at + 14 <= end <= len(source):
            raise DamagedCodestream(f"byte {at}: a tile-part of {length} bytes ends beyond the codestream")
        body = next(offset for marker, offset in _segments(source, at + 12) if marker == SOD) + 2
        if (hit := _MARKER.search(source, body, end)) is not None:
            code = source[hit.start() : hit.end()].hex().upper()
            raise DamagedCodestream(f"byte {hit.start()}: {code} stands within packets, which cannot hold it")
        if (offset := source.find(zeros, body, end)) >= 0:
            raise DamagedCodestream(
                f"byte {offset}: more than {len(zeros) - 1} zero bytes in a row, which no packets are"
            )
        at = end
    if source[at : at + 2] != bytes((0xFF, EOC)):
        raise DamagedCodestream(f"byte {at}: the tile-parts' lengths do not lead to the end marker")


def _most_packets(source: bytes, header: dict[int, int]) -> int:
    """Packets of a tile at most: layers x components x precincts of all resolutions."""
    if SIZ not in header or COD not in header:
        raise DamagedCodestream("SIZ or COD is missing in the main header")
    siz, cod = header[SIZ], header[COD]
    columns, rows = (min(_number(source, siz + at, 4), _number(source, siz + at + 16, 4)) for at in (6, 10))
    components, layers, levels = _number(source, siz + 38, 2), _number(source, cod + 6, 2), source[cod + 9]
    precincts = 0
    for resolution in range(min(levels, 32) + 1):
        size = source[cod + 14 + resolution] if source[cod + 4] & 1 else 0xFF
        down = levels - resolution
        across, along = ((side >> down) / (1 << power) for side, power in ((columns, size & 15), (rows, size >> 4)))
        precincts += (ceil(across) + 1) * (ceil(along) + 1)
    return layers * components * precincts
