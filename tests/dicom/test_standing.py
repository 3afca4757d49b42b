"""The digest of files' states: another one for any change, whatever way the states were looked up."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest

from mammo_aln.dicom import standing
from mammo_aln.dicom.archive import file_key
from mammo_aln.dicom.standing import looked_at_once, standing_digest

COUNT = 200


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for number in range(COUNT):
        path = tmp_path / f"folder{number % 7}" / f"{number}.dcm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"content")
    with zipfile.ZipFile(tmp_path / "exam.ZIP", "w") as archive:
        archive.writestr("a.dcm", "a")
    plain = [str(tmp_path / f"folder{number % 7}" / f"{number}.dcm") for number in range(COUNT)]
    return [*plain, f"{tmp_path}/exam.ZIP!/a.dcm", f"{tmp_path}/missing.dcm"]


def resaved(path: Path) -> None:
    """Another content of the same size under the same time of change."""
    status = path.stat()
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replaced(path: Path) -> None:
    shutil.copy2(path.with_name("0.dcm"), path)


def relinked(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("0.dcm"))


@pytest.mark.parametrize("change", [resaved, replaced, relinked, Path.unlink])
def test_any_change_of_any_file_gives_another_digest(files: list[str], change) -> None:
    before = standing_digest(files)
    assert standing_digest(files) == before
    change(Path(files[7]))  # in the first file's folder
    assert standing_digest(files) != before


def test_a_zip_file_stands_for_its_members_and_a_missing_file_has_a_state(files: list[str]) -> None:
    before = standing_digest(files)
    Path(files[-1]).write_bytes(b"there")
    there = standing_digest(files)
    with zipfile.ZipFile(files[-2].partition("!")[0], "a") as archive:
        archive.writestr("b.dcm", "b")
    assert len({before, there, standing_digest(files)}) == 3


def test_order_and_names_enter(files: list[str]) -> None:
    digests = [standing_digest(some) for some in (files, files[::-1], files[:-1], files[1:], [*files, files[0]], [])]
    assert len(set(digests)) == len(digests)


def test_slow_looks_are_under_way_at_once_and_give_the_same_digest(
    files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = standing_digest(files)
    monkeypatch.setattr(standing, "SLOW_S", -1.0)
    assert standing_digest(files) == before


def test_a_block_looks_once_unless_it_is_asked_to_look_anew(files: list[str]) -> None:
    with looked_at_once():
        before = standing_digest(files)
        resaved(Path(files[3]))
        assert standing_digest(files) == before
        anew = standing_digest(files, anew=True)
        assert anew != before
    assert standing_digest(files) == anew


def test_a_files_key_is_the_same_however_many_are_asked_for(files: list[str], tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(tmp_path / "folder0")
    (tmp_path / "one.dcm").symlink_to(tmp_path / "folder1" / "1.dcm")
    names = [*files[:-1], f"{tmp_path}/linked/7.dcm", f"{tmp_path}/one.dcm", f"{tmp_path}/folder2/../folder3/3.dcm"]
    folders: dict[str, str] = {}
    assert [file_key(Path(name), folders) for name in names] == [file_key(Path(name)) for name in names]
    assert file_key(tmp_path / "linked" / "7.dcm", folders) == file_key(tmp_path / "folder0" / "7.dcm")
    with pytest.raises(FileNotFoundError):
        file_key(Path(files[-1]), folders)
