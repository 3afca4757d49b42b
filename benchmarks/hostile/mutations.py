"""Mutations of a file's bytes, each a pure function of a seeded generator: what transfers, tools and attackers do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
WORDS = (
    b"nan", b"inf", b"-inf", b"1e309", b"-1", b"0", b"1e-320", b"99999999999999999999", b"\0", b"\xef\xbb\xbf",
    b"\xff\xfe", b"=cmd|' /C calc'!A0", b"../../../etc/passwd", b"/dev/zero", b"\r", b"\n", b'"', b"'", b",", b";",
    b"\t", b"&a [*a,*a]", b"[[[[[[[[", b"{{{{{{{{", b"!!python/object:os.system", "\u0430".encode(), "\u202e".encode(),
    "\u200b".encode(), b"<!ENTITY a 'b'>", b"true", b"null", b"{}", b"[]", b"%s%n", b"\x1b[31m",
)  # fmt: skip
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


MUTATIONS: tuple[Mutation, ...] = (flipped, cut, number, word, removed, repeated, joined, blanked)


def mutated(draw: Random, seeds: Sequence[bytes]) -> bytes:
    """Change a drawn file once to three times; most of a header's worth near its beginning.

    Args:
        draw: generator.
        seeds: contents of sound files, none empty.
    """
    content = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        if not content:
            break
        head = min(len(content), 4096)
        if draw.random() < 0.5 and len(content) > head:
            content = draw.choice(MUTATIONS)(draw, content[:head], seeds) + content[head:]
        else:
            content = draw.choice(MUTATIONS)(draw, content, seeds)
    return bytes(content)
