"""Mutations of a file's bytes, each a pure function of a seeded generator: what transfers, tools and attackers do."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
WORDS = (
    b"nan", b"inf", b"-inf", b"1e309", b"-1", b"0", b"1e-320", b"99999999999999999999", b"\0", b"\xef\xbb\xbf",
    b"\xff\xfe", b"=cmd|' /C calc'!A0", b"../../../etc/passwd", b"/dev/zero", b"\r", b"\n", b'"', b"'", b",", b";",
    b"\t", b"&a [*a,*a]", b"[[[[[[[[", b"{{{{{{{{", b"!!python/object:os.system", "\u0430".encode(), "\u202e".encode(),
    "\u200b".encode(), b"<!ENTITY a 'b'>", b"true", b"null", b"{}", b"[]", b"%s%n", b"\x1b[31m",
)  # fmt: skip
TOKEN = re.compile(rb"[\w.+-]+")
Mutation = Callable[[Random, bytearray, Sequence[bytes]], bytearray]


def flipped(draw: Random, content: bytearray, others: Sequence[bytes]) -> bytearray:
    """Flip one to eight bits."""
    for _ in range(draw.randint(1, 8)):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return content


def cut(draw: Random, content: bytearray, others: Sequence[bytes]) -> bytearray:
    """Cut the end off, as an interrupted transfer does."""
    return content[: draw.choice((draw.randrange(len(content)), len(content) - 1, len(content) // 2, 132, 0))]


def number(draw: Random, content: bytearray, others: Sequence[bytes]) -> bytearray:
    """Put an odd number in place of one to four bytes."""
    size = draw.choice((1, 2, 4))
    at = draw.randrange(max(1, len(content) - size))
    content[at : at + size] = (draw.choice(NUMBERS) % 256**size).to_bytes(size, draw.choice(("little", "big")))
    return content


def word(draw: Random, content: bytearray, others: Sequence[bytes]) -> bytearray:
    """Put an odd word between, or over, the bytes."""
    at, text = draw.randrange(len(content) + 1), draw.choice(WORDS)
    content[at : at + draw.choice((0, len(text)))] = text
    return content


def token(draw: Random, content: bytearray, others: Sequence[bytes]) -> bytearray:
    """Put an odd word, or another one of the file, in the place of a word or number of a text."""
    at = draw.randrange(len(content))
    near = bytes(content[at : at + 400])
    tokens = list(TOKEN.finditer(near))
    if not tokens:
        return word(draw, content, others)
    chosen = draw.choice(tokens)
    content[at + chosen.start() : at + chosen.end()] = draw.choice([*WORDS, draw.choice(tokens)[0]])
    return content


def removed(draw: Random, content: bytearray, others: Sequence[bytes]) -> bytearray:
    """Remove a run of bytes."""
    at = draw.randrange(len(content))
    del content[at : at + draw.randint(1, 64)]
    return content


def repeated(draw: Random, content: bytearray, others: Sequence[bytes]) -> bytearray:
    """Repeat a run of bytes up to 2,000 times."""
    at = draw.randrange(len(content))
    run = bytes(content[at : at + draw.randint(1, 64)])
    content[at:at] = run * draw.choice((1, 2, 50, 2000))
    return content


def joined(draw: Random, content: bytearray, others: Sequence[bytes]) -> bytearray:
    """Go on with the end of another file."""
    other = draw.choice(others)
    return content[: draw.randrange(len(content) + 1)] + other[draw.randrange(len(other) + 1) :]


def blanked(draw: Random, content: bytearray, others: Sequence[bytes]) -> bytearray:
    """Set a run of bytes to zero, as a sparse or torn file has it."""
    at, size = draw.randrange(len(content)), draw.choice((1, 16, 512, 4096))
    content[at : at + size] = bytes(len(content[at : at + size]))
    return content


def nested(draw: Random, content: bytearray, others: Sequence[bytes]) -> bytearray:
    """Open one bracket, tag or list after another, up to 20,000 deep."""
    at, opening = draw.randrange(len(content) + 1), draw.choice((b"[", b'{"a":', b"<a>", b"- ", b"? "))
    content[at:at] = opening * draw.choice((50, 1_000, 20_000))
    return content


def stretched(draw: Random, content: bytearray, others: Sequence[bytes]) -> bytearray:
    """Make one digit or letter 6,000 of it, or a megabyte."""
    at = draw.randrange(len(content))
    content[at:at] = content[at : at + 1] * draw.choice((300, 6_000, 1_000_000))
    return content


MUTATIONS: tuple[Mutation, ...] = (
    flipped, cut, number, word, token, token, removed, repeated, joined, blanked, nested, stretched,
)  # fmt: skip
HEAVY = (nested, stretched)
GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
MOST_INFLATED = 4_000_000


def mutated(draw: Random, seeds: Sequence[bytes]) -> bytes:
    """Change the first file, or in every second case what its gzip stream or ZIP archive holds, and pack it again.

    Args:
        draw: generator.
        seeds: contents of sound files, none empty; the others' ends may follow the first one's beginning.
    """
    content = seeds[0]
    if content.startswith((GZIP, ZIP)) and draw.random() < 0.5:
        inside = _gzip_changed if content.startswith(GZIP) else _member_changed
        try:
            return inside(draw, content)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError):
            pass  # a seed that is itself damaged: changed as it stands
    return _changed(draw, seeds)


def _gzip_changed(draw: Random, content: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
        inflated = stream.read(MOST_INFLATED)
    return gzip.compress(_changed(draw, [inflated]), 1)


def _member_changed(draw: Random, content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(packed, "w") as after:
        members = before.infolist()
        drawn = draw.choice(members)
        for member in members:
            inside = before.read(member)
            after.writestr(member, _changed(draw, [inside]) if member is drawn and inside else inside)
    return packed.getvalue()


def _changed(draw: Random, seeds: Sequence[bytes]) -> bytes:
    """Change the first of these contents once to three times; most of a header's worth near its beginning."""
    content = bytearray(seeds[0])
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        if not content:
            break
        head = min(len(content), 4096)
        if draw.random() < 0.5 and len(content) > head:
            content = _drawn(draw)(draw, content[:head], seeds) + content[head:]
        else:
            content = _drawn(draw)(draw, content, seeds)
    return bytes(content)


def _drawn(draw: Random) -> Mutation:
    """Draw a mutation; one that makes megabytes takes longer, and is rarer."""
    chosen = draw.choice(MUTATIONS)
    return chosen if chosen not in HEAVY or draw.random() < 0.3 else draw.choice(MUTATIONS)
