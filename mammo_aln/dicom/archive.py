"""One opener for every image, whether it is a file or stands in a ZIP file: `exam.zip!/folder/image.dcm`.

Nothing is ever unpacked to disk: a member is inflated while it is read, its CRC is compared at its end, and neither its
name nor its declared size can make this package write anywhere or read without bound.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO

from mammo_aln.files import irregular

ENDING = ".zip"
START = b"PK\x03\x04"
INSIDE = re.compile(r"\.zip(?=!/)", re.IGNORECASE)
OPEN_ARCHIVES = 4
SAMPLED_FROM_BYTES, SAMPLED_HEAD_BYTES, SAMPLES, SAMPLE_BYTES = 1 << 20, 1 << 16, 64, 1 << 12
MAX_MEMBERS = 1_000_000
# As much as a deflated data set may grow to, see `decode`.
MAX_MEMBER_BYTES = 4 * 200_000_000 + (1 << 26)
LARGE_MEMBER_BYTES, IMPLAUSIBLE_RATIO = 100_000_000, 200
READABLE_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ENCRYPTED_BIT = 0x1
# bz2 raises a bare OSError, names that are not the UTF-8 they claim to be a ValueError, odd versions the two after it
BROKEN = (
    zipfile.BadZipFile,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
)


class ArchiveError(OSError):
    """A ZIP file, or what stands in it, cannot be read; `strerror` says why."""

    def __init__(self, reason: str, path: Path) -> None:
        super().__init__(None, reason, str(path))


@dataclass(frozen=True)
class Member:
    """A file in a ZIP file: its name there, and why it is not read (empty where it is)."""

    name: str
    refusal: str = ""


def is_archive(path: Path) -> bool:
    """Test that a file is taken for a ZIP file, by its ending."""
    return path.suffix.lower() == ENDING


def archive_of(path: Path) -> tuple[Path, str] | None:
    """Split `exam.zip!/a/b.dcm` into the ZIP file and the name in it; None for a path that leads through none."""
    text = str(path)
    for mark in INSIDE.finditer(text):
        archive = Path(text[: mark.end()])
        if archive.is_file():
            return archive, text[mark.end() + 2 :]
    return None


def file_on_disk(path: Path) -> Path:
    """The file that an image is read from: itself, or the ZIP file that it stands in."""
    inside = archive_of(path)
    return path if inside is None else inside[0]


def folders_of(relative: str) -> str:
    """Cut a relative path down to what names folders on disk: what stands in a ZIP file lies where that file lies."""
    mark = INSIDE.search(relative)
    return relative if mark is None else relative[: mark.end()]


def members(archive: Path) -> list[Member]:
    """List the files in a ZIP file, hidden ones left out, each with the reason if it can't be read.

    Raises:
        ArchiveError: no ZIP file, cut off, or too many files in it.
        OSError: it cannot be opened.
    """
    entries = [entry for entry in _opened(archive).infolist() if not entry.is_dir()]
    counts = Counter(entry.filename for entry in entries)
    shown = {entry.filename: entry for entry in entries if not _is_hidden(entry.filename)}
    return [
        Member(name, "its name stands twice in the ZIP file" if counts[name] > 1 else _refusal(entry))
        for name, entry in sorted(shown.items())
    ]


def open_image(path: Path) -> io.BufferedReader:
    """Open an image for reading, seekable, be it a file or a member of a ZIP file.

    Raises:
        ArchiveError: the ZIP file is broken, lacks the member, or the member is encrypted or implausibly large.
        OSError: no such file, not a regular one, or it cannot be opened.
    """
    inside = archive_of(path)
    if inside is None:
        if irregular(path.stat()):
            raise ArchiveError("not a regular file", path)
        return path.open("rb")
    archive, entry = _entry(path, *inside)
    with _refusing(path):
        return io.BufferedReader(_Inflated(archive.open(entry), path))


class _Inflated(io.RawIOBase):
    """A member while it is inflated; whatever breaks in it is an `ArchiveError`."""

    def __init__(self, member: IO[bytes], path: Path) -> None:
        self._member, self._path, self.name = member, path, str(path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with _refusing(self._path):
            block = self._member.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _refusing(self._path):
            return self._member.seek(offset, whence)

    def tell(self) -> int:
        return self._member.tell()


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        raise ArchiveError(f"broken in its ZIP file: {error}", path) from error


def image_bytes(path: Path) -> int:
    """Size of an image's file in bytes, in a ZIP file that of the member unpacked.

    Raises:
        OSError: it is not there.
    """
    inside = archive_of(path)
    return path.stat().st_size if inside is None else _entry(path, *inside)[1].file_size


def file_key(path: Path, folders: dict[str, str] | None = None) -> str:
    """Key of a file as it stands now; holds path, size and times only as a digest (of the ZIP file, with the member).

    The status change time is among them, since a copy that keeps size and modification time is another file still.

    Args:
        path: of the file, or of a member of a ZIP file.
        folders: where the folders of earlier files lead, links resolved, for a caller that asks for many keys at once.

    Raises:
        OSError: the file is not there.
    """
    inside = archive_of(path)
    file = path if inside is None else inside[0]
    status = file.stat()
    values = ["content", _resolved(file, folders), status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    if inside is not None:
        values += [inside[1], _entry(path, *inside)[1].CRC]
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_state(path: Path) -> tuple[int, ...]:
    """Look at what a file, or the ZIP file that it stands in, is known by: another one has another state.

    Raises:
        OSError: it is not there.
    """
    status = file_on_disk(path).stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _resolved(file: Path, folders: dict[str, str] | None) -> str:
    if folders is None or file.name in ("", "..") or file.is_symlink():
        return str(file.resolve())
    folder = str(file.parent)
    if folder not in folders:
        folders[folder] = str(file.parent.resolve())
    return os.path.join(folders[folder], file.name)  # noqa: PTH118  # a Path costs as much again as the look


def inode_key(path: Path) -> str | None:
    """Key of a file by its inode, size and modification time, which chmod, chown, a link or a rename leave as they are.

    None for a small file, which is quickly read whole, and in a ZIP file.

    Raises:
        OSError: the file is not there.
    """
    status = path.stat() if archive_of(path) is None else None
    if status is None or status.st_size < SAMPLED_FROM_BYTES:
        return None
    values = ["inode", status.st_ino, status.st_size, status.st_mtime_ns]
    return hashlib.sha256(json.dumps(values, separators=(",", ":")).encode()).hexdigest()


def samples_digest(path: Path) -> str:
    """SHA-256 of a file's beginning, which holds its header, its end, and blocks spread evenly between.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(file.read(SAMPLED_HEAD_BYTES))
        for nth in range(1, SAMPLES + 1):
            digest.update(os.pread(file.fileno(), SAMPLE_BYTES, nth * (size - SAMPLE_BYTES) // SAMPLES))
    return digest.hexdigest()


def content_digest(path: Path) -> str:
    """SHA-256 of an image's bytes, the same packed and unpacked.

    Raises:
        OSError: the file cannot be read.
    """
    with open_image(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _opened(archive: Path) -> zipfile.ZipFile:
    status = archive.stat()
    return _kept_open(archive, (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))


@lru_cache(OPEN_ARCHIVES)
def _kept_open(archive: Path, state: tuple[int, ...]) -> zipfile.ZipFile:
    """Open a ZIP file as it is now; its list of files is read once for all members."""
    if irregular(archive.stat()):
        raise ArchiveError("not a regular file", archive)
    try:
        opened = zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise ArchiveError(f"not a readable ZIP file ({error}); cut off in transfer?", archive) from error
    if len(opened.infolist()) > MAX_MEMBERS:
        raise ArchiveError(f"a ZIP file of more than {MAX_MEMBERS} files", archive)
    return opened


def _entry(path: Path, archive: Path, name: str) -> tuple[zipfile.ZipFile, zipfile.ZipInfo]:
    opened = _opened(archive)
    try:
        entry = opened.getinfo(name)
    except KeyError:
        raise ArchiveError(f"the ZIP file {archive.name} holds no such file", path) from None
    if reason := _refusal(entry):
        raise ArchiveError(reason, path)
    return opened, entry


def _is_hidden(name: str) -> bool:
    return any(piece.startswith(".") and piece not in (".", "..") for piece in name.replace("\\", "/").split("/"))


def _refusal(entry: zipfile.ZipInfo) -> str:
    """Why a member is not read; empty where it is."""
    name = entry.filename
    pieces = name.replace("\\", "/").split("/")
    if ".." in pieces or pieces[0] == "" or re.match("[A-Za-z]:", name):
        return "its name in the ZIP file leads out of the folder: pack it again without .. and without absolute paths"
    if str(PurePosixPath(name)) != name or not name.isprintable() or INSIDE.search(name):
        return "its name in the ZIP file is no plain path: pack it again"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "a link in the ZIP file, not a file"
    if entry.flag_bits & ENCRYPTED_BIT:
        return "encrypted in the ZIP file: unpack it with its password and index the folder"
    if PurePosixPath(name).suffix.lower() == ENDING:
        return "a ZIP file within a ZIP file: unpack the outer one"
    if entry.compress_type not in READABLE_METHODS:
        return f"compressed in the ZIP file by method {entry.compress_type}, which cannot be read here: unpack it"
    large = entry.file_size > LARGE_MEMBER_BYTES
    if entry.file_size > MAX_MEMBER_BYTES or (
        large and entry.file_size > IMPLAUSIBLE_RATIO * max(1, entry.compress_size)
    ):
        return f"grows from {entry.compress_size} to {entry.file_size} bytes when unpacked, as no image does"
    return ""
