"""Ledger of a folder that images are fetched to: each whole file with its size and digest, so that a fetch goes on.

It lies in `OUT/.fetch`, which `index` does not look at. Names of folders and files are drawn from UIDs and PatientIDs
by a secret of this folder (HMAC-SHA256), so that they identify nobody and two folders never use the same ones.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mammo_aln.cohort.listing.identity import is_placeholder
from mammo_aln.dicom.web.received import ReceivedFile
from mammo_aln.errors import InputError
from mammo_aln.files import make_folder
from mammo_aln.machine.locks import take_lock
from mammo_aln.progress import say, track

FOLDER = ".fetch"
DIGITS = 16


@dataclass(frozen=True)
class FetchedFile:
    """One whole file: its instance, where it lies below the folder, and its state when it was written."""

    instance: str
    path: str
    bytes: int
    sha256: str
    modified_ns: int


class Ledger:
    """Files of one folder. Use `opened`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out / FOLDER
        self.incoming = self.folder / "incoming"
        self._journal = self.folder / "files.jsonl"
        self._secret = self._read_secret()
        self._paths: dict[str, str] = {}
        shutil.rmtree(self.incoming, ignore_errors=True)  # what a killed fetch had not finished
        make_folder(self.incoming)

    def verified(self) -> set[str]:
        """Instances whose files are whole: as they were written, else by their digest. Others are told, to come anew.

        Raises:
            InputError: the ledger cannot be read.
        """
        entries: dict[str, FetchedFile] = {}
        for entry in self._entries():
            entries[entry.instance] = entry
        self._paths = {entry.path: entry.instance for entry in entries.values()}
        whole: set[str] = set()
        changed = 0
        for entry in track(entries.values(), total=len(entries), what="files that are there", unit="file"):
            state = self._state(entry)
            whole |= {entry.instance} if state else set()
            changed += state is False
        if changed:
            say(f"{changed} files are not as they were fetched (cut off or changed since): they are fetched anew")
        return whole

    def _state(self, entry: FetchedFile) -> bool | None:
        """True for a whole file, False for a changed one, None for one that is gone."""
        file = self.out / entry.path
        if not file.is_file():
            return None
        status = file.stat()
        if status.st_size != entry.bytes:
            return False
        return status.st_mtime_ns == entry.modified_ns or _digest(file) == entry.sha256

    def keep(self, unfinished: Path, identity: ReceivedFile) -> FetchedFile:
        """Move a received file to its place and remember it.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        patient = [identity.issuer, identity.patient]
        if is_placeholder(identity.patient):
            patient = ["study", identity.study]
        folders = (self._name("p", *patient), self._name("s", identity.study), self._name("r", identity.series))
        relative = str(Path(*folders, self._name("i", identity.instance) + ".dcm"))
        if self._paths.setdefault(relative, identity.instance) != identity.instance:
            raise InputError(f"{self.out / relative}: two instances would share this name")
        target = self.out / relative
        make_folder(target.parent)
        digest = _digest(unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(target)
        status = target.stat()
        entry = FetchedFile(identity.instance, relative, status.st_size, digest, status.st_mtime_ns)
        with self._journal.open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(asdict(entry)) + "\n")
        return entry

    def _name(self, kind: str, *identity: str) -> str:
        text = "\n".join((kind, *identity)).encode()
        return kind + hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:DIGITS]

    def _entries(self) -> Iterator[FetchedFile]:
        if not self._journal.is_file():
            return
        text = self._journal.read_text(encoding="utf-8")
        if text and not text.endswith("\n"):
            # A kill cut the last line off; without it, that instance comes once more.
            text = text[: text.rfind("\n") + 1]
            unfinished = self._journal.with_suffix(".part")
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(self._journal)
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                yield FetchedFile(**json.loads(line))
            except (ValueError, RecursionError, TypeError) as error:
                raise InputError(
                    f"{self._journal} line {number}: no entry of a fetch; remove {self.folder} to fetch all anew"
                ) from error

    def _read_secret(self) -> bytes:
        path = self.folder / "secret"
        if not path.is_file():
            unfinished = path.with_suffix(".part")
            unfinished.touch(mode=0o600)
            unfinished.write_text(secrets.token_hex(32), encoding="ascii")
            unfinished.replace(path)
        text = path.read_text(encoding="ascii").strip()
        if len(text) != 64:
            raise InputError(f"{path}: damaged; remove {self.folder} to fetch all anew")
        return text.encode()


@contextmanager
def opened(out: Path) -> Iterator[Ledger]:
    """Hold a folder's ledger against other fetches.

    Raises:
        InputError: another fetch writes there, or the folder cannot be written.
    """
    make_folder(out / FOLDER)
    try:
        lock = take_lock(out / FOLDER / "lock")
        if lock is None:
            raise InputError(f"{out}: another fetch writes to this folder")
        with lock:
            ledger = Ledger(out)
            yield ledger
            shutil.rmtree(ledger.incoming, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or type(error).__name__})") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
