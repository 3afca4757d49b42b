"""Digest of the code that makes a result from files: what is kept of such a result holds for this code alone."""

from __future__ import annotations

import hashlib
import sys
import unicodedata
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import mammo_aln

DECODERS = (
    *("imagecodecs", "pydicom", "numpy", "opencv-python-headless", "pylibjpeg-openjpeg", "python-gdcm"),
    *("pandas", "pandera", "pyarrow", "PyYAML"),
)
"""Packages whose version may change what is read from a file."""


@lru_cache(maxsize=8)
def code_digest(rooms: tuple[str, ...]) -> str:
    """SHA-256 (hex) of the sources of some rooms of this package, with the versions of what reads files.

    Args:
        rooms: folders in the package, such as `dicom`.
    """
    package = Path(mammo_aln.__file__).parent
    digest = hashlib.sha256(mammo_aln.__version__.encode())
    digest.update(f"Python {sys.version}, Unicode {unicodedata.unidata_version}\n".encode())
    for room in rooms:
        for file in sorted((package / room).rglob("*.py")):
            digest.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes())
    for name in DECODERS:
        digest.update(f"{name} {_version(name)}\n".encode())
    return digest.hexdigest()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"
