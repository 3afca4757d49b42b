"""NIfTI files held against their own headers: ITK reads what a transfer cut off as 0, and says nothing."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from mammo_aln.errors import InputError
from mammo_aln.files import irregular

MOST_VOXELS = 1 << 30
BLOCK_BYTES = 1 << 20
FURTHER_BYTES = 1 << 26
"""So much may stand behind the voxels in a gzip stream; more is a file made to fill memory."""
LARGEST_SCALE = 1e30


@dataclass(frozen=True)
class Form:
    """Layout of one version of the header: types and offsets of its fields (nifti1.h, nifti2.h)."""

    size: int
    magic_at: int
    magic: bytes
    count: str
    dim_at: int
    type_at: int
    real: str
    pixdim_at: int
    offset: str
    offset_at: int
    slope_at: int


FORMS = (
    Form(348, 344, b"n+1", "h", 40, 70, "f", 76, "f", 108, 112),
    Form(540, 4, b"n+2", "q", 16, 12, "d", 104, "q", 168, 176),
)
BITS = {2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64, 2304: 32}
"""Bits of a voxel by the header's code of its type; those of more than 64 bits are left to ITK's refusal."""
REAL = {16: "f4", 64: "f8"}
MOST_AXES = 7


@dataclass(frozen=True)
class Extent:
    """Bytes of a file's voxels, and numpy's type of them where it can hold what is no number."""

    start: int
    size: int
    kind: str | None


def refuse_damaged_nifti(path: Path, most_voxels: int = MOST_VOXELS) -> None:
    """Check a NIfTI file against its own header, its voxels for NaN, and its gzip stream to the sum at its end.

    Raises:
        InputError: no regular file, cut off, a broken gzip stream, a header of no sense, or voxels that are no numbers.
    """
    with reading(path) as stream:
        packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        content = cast(BinaryIO, gzip.GzipFile(fileobj=stream)) if packed else stream
        extent = _extent(content.read(FORMS[-1].size), path, most_voxels)
        content.seek(extent.start)
        _check_voxels(content, extent, path)
        if packed:
            read_to_end(content, path)


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file in this block; a gzip stream that breaks, or what the system says, is one line."""
    try:
        if kind := irregular(path.stat()):
            raise InputError(f"{path}: expected a file, not {kind}")
        with path.open("rb") as stream:
            yield stream
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: its gzip stream is broken or cut off ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def read_to_end(content: BinaryIO, path: Path, most_bytes: int = FURTHER_BYTES) -> None:
    """Read a gzip stream to its end, where its sum is compared."""
    while block := content.read(BLOCK_BYTES):
        most_bytes -= len(block)
        if most_bytes < 0:
            raise InputError(f"{path}: inflates to more than its header needs")


def _check_voxels(content: BinaryIO, extent: Extent, path: Path) -> None:
    have = 0
    while block := content.read(min(BLOCK_BYTES, extent.size - have)):
        have += len(block)
        if extent.kind and not np.isfinite(np.frombuffer(block[: len(block) // 8 * 8], extent.kind)).all():
            raise InputError(f"{path}: holds values that are not finite; expected a number in every voxel")
    if have < extent.size:
        raise InputError(
            f"{path}: {extent.start + have} bytes after inflation, its header needs {extent.start + extent.size}:"
            " the file is cut off"
        )


def _extent(head: bytes, path: Path, most_voxels: int) -> Extent:
    for form in FORMS:
        for order in "<>":
            is_size = len(head) >= form.size and struct.unpack_from(f"{order}i", head)[0] == form.size
            if is_size and head[form.magic_at : form.magic_at + 3] == form.magic:
                return _extent_by(form, order, head, path, most_voxels)
    raise InputError(f"{path}: no header of a NIfTI file (n+1 or n+2), or cut off within it")


def _extent_by(form: Form, order: str, head: bytes, path: Path, most_voxels: int) -> Extent:
    dim = struct.unpack_from(f"{order}8{form.count}", head, form.dim_at)
    kind, bits = struct.unpack_from(f"{order}2h", head, form.type_at)
    start = struct.unpack_from(f"{order}{form.offset}", head, form.offset_at)[0]
    axes = dim[0] if 1 <= dim[0] <= MOST_AXES else 0
    voxels = math.prod(dim[1 : axes + 1])
    sensible = axes and min(dim[1 : axes + 1]) >= 1 and voxels <= most_voxels and bits == BITS.get(kind, bits) > 0
    if not sensible or not form.size <= start < most_voxels:
        raise InputError(
            f"{path}: broken NIfTI header (dim {dim}, type {kind} of {bits} bits, data from {start}):"
            f" expected at most {most_voxels} voxels"
        )
    steps = struct.unpack_from(f"{order}8{form.real}", head, form.pixdim_at)[1 : axes + 1]
    lengths = zip(dim[1:4], steps[:3], strict=False)  # of one slice nothing asks for its distance from the next
    if not all(0 < abs(step) < LARGEST_SCALE or (count == 1 and step == 0) for count, step in lengths):
        raise InputError(f"{path}: broken NIfTI header: voxels of {steps} mm; expected numbers above 0")
    scaling = struct.unpack_from(f"{order}2{form.real}", head, form.slope_at)
    if not all(abs(value) < LARGEST_SCALE for value in scaling):
        raise InputError(f"{path}: broken NIfTI header: scl_slope and scl_inter {scaling}; expected finite numbers")
    return Extent(int(start), voxels * bits // 8, f"{order}{REAL[kind]}" if kind in REAL else None)
