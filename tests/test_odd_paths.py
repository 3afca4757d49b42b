"""Paths that a table or a flag names and that are no files of a disk: refused before they are opened, nothing waits."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.cli import main
from mammo_aln.cohort.check import check_cohort
from mammo_aln.cohort.index import index_folder
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.crops.build import build_crops
from mammo_aln.errors import InputError
from mammo_aln.files import irregular
from mammo_aln.settings import CropConfig, PixelConfig
from tests.support.crop_cohort import small_cohort

pytestmark = pytest.mark.timeout(60)
SMALL = CropConfig(size_px=32, auxiliary=())
OF_THE_KERNEL = [path for path in ("/proc/kmsg", "/proc/kcore", "/proc/self/mem") if Path(path).exists()]


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_every_kind_that_is_no_file_of_a_disk_is_known(pipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("file")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        kinds = {name: irregular(Path(name).stat()) for name in (pipe, tmp_path / "s", "/dev/null", tmp_path)}
    assert list(kinds.values()) == ["a pipe", "a socket", "a device", "a folder"]
    assert [irregular((tmp_path / name).stat()) for name in ("file", "link")] == ["", ""]
    assert {irregular(Path(path).stat()) for path in OF_THE_KERNEL} <= {"a file of the kernel's own"}


def linked(path: str) -> Callable[[Path], None]:
    def link(root: Path) -> None:
        (root / "i0.dcm").unlink()
        (root / "i0.dcm").symlink_to(path)

    return link


def named(path: str) -> Callable[[Path], None]:
    def name(root: Path) -> None:
        table = pd.read_csv(root / "images.csv")
        table.loc[0, "path"] = path
        table.to_csv(root / "images.csv", index=False)

    return name


@pytest.mark.parametrize("path", ["../pipe", "/dev/zero", "../folder", *OF_THE_KERNEL])
@pytest.mark.parametrize("by", [named, linked])
def test_an_image_that_is_no_file_of_a_disk_is_left_out_unopened(
    tmp_path: Path, pipe: Path, path: str, by: Callable[[str], Callable[[Path], None]]
) -> None:
    root = tmp_path / "c"
    small_cohort(root, 2)
    (tmp_path / "folder").mkdir()
    by(path)(root)
    problems = [line for line in check_cohort(root) if line.startswith("image i0: not a regular file")]
    assert len(problems) == 1
    crops = build_crops(read_cohort(root), PixelConfig(), SMALL, workers=1)
    assert crops.table["image_id"].tolist() == ["i1"]
    assert crops.exclusions["reason"].tolist() == ["cannot be read: not a regular file"]


@pytest.mark.parametrize("path", ["../pipe", "/dev/zero", "../folder", "/mnt/not/mounted", *OF_THE_KERNEL[:1]])
@pytest.mark.parametrize("table", ["patients.csv", "images.csv", "regions.csv", "cohort.yaml"])
def test_a_table_that_is_no_file_of_a_disk_is_refused_unopened_and_never_missing(
    tmp_path: Path, pipe: Path, table: str, path: str
) -> None:
    """Without `regions.csv` or `cohort.yaml` the same cohort would read as another one."""
    root = tmp_path / "c"
    small_cohort(root, 2)
    (tmp_path / "folder").mkdir()
    (root / ".crops").mkdir()
    read_cohort(root, kept_in=root / ".crops")
    (root / table).unlink()
    (root / table).symlink_to(path)
    for kept_in in (None, root / ".crops"):
        with pytest.raises(InputError, match=table) as refused:
            read_cohort(root, kept_in=kept_in)
        assert "missing" not in str(refused.value)
    if table != "regions.csv":
        with pytest.raises(InputError, match=table):
            index_folder(root, root)
    assert (root / table).is_symlink()


@pytest.mark.parametrize(
    "words",
    [
        ("regions", "{}", "--out", "c"),
        ("init", "c", "--clinical", "{}"),
        ("crop", "c", "--config", "{}"),
        ("radiomics", "fit", "c", "--features", "{}", "--out", "f"),
        ("sweep", "run", "{}", "--cohort", "c", "--out", "s"),
        ("check", "c", "--run", "{}"),
        ("fetch", "--url", "http://127.0.0.1:9", "--out", "f", "--list", "{}"),
    ],
)
def test_a_flag_that_names_a_pipe_is_refused_unopened(
    tmp_path: Path, pipe: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_cohort(tmp_path / "c", 2)
    for table in ("patients.csv", "cohort.yaml"):
        (tmp_path / "c" / table).rename(tmp_path / table) if words[0] == "init" else None
    monkeypatch.chdir(tmp_path)
    assert main([word.format("pipe") for word in words]) == 2
