"""YAML that fills memory, hangs or means two things is one line at every door; plain YAML reads as PyYAML reads it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from mammo_aln.cli import main
from mammo_aln.errors import InputError
from mammo_aln.settings.bounded_yaml import UnreadableYaml, yaml_texts, yaml_values

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    BOMB: "line 2: .a: aliases are not read",
    "name: &a [*a]\n": "aliases are not read",
    "a: &a {x: 1}\nb: {<<: *a}\n": "aliases are not read",
    f"name: {'[' * 5000}{']' * 5000}\n": "nest more than",
    f"name: {'{a: ' * 3000}1{'}' * 3000}\n": "nest more than",
    "name: a\nseed: 1\nname: b\n": "line 3: name stands there twice",
    "crop: {size_px: 64, size_px: 96}\n": "size_px stands there twice",
    "? [a]\n: b\n": "as a key",
    "!!python/object/apply:os.system ['true']\n": "such tags are not read",
    "name: !!binary aGVsbG8=\n": "such tags are not read",
    "name: 'a\0b'\n": "0x0000",
    "---\na: 1\n---\nb: 2\n": "line 3",
    "name: a\n".encode("utf-16"): "no UTF-8",
    "a:\n\t- b\n": "line 2",
}


def as_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_yaml_is_refused_by_line(text: str | bytes, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(as_bytes(text))
    for read in (yaml_values, yaml_texts):
        with pytest.raises(UnreadableYaml, match=HOSTILE[text]):
            read(file)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_files_read_as_pyyaml_reads_them(path: Path) -> None:
    assert yaml_values(path) == yaml.safe_load(path.read_text())
    assert yaml_texts(path) == yaml.load(path.read_text(), yaml.BaseLoader)


def test_keys_and_dates_are_text_and_a_mark_of_utf_8_is_none(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(b"\xef\xbb\xbfon: yes\n1: 2001-12-14\n0x10: 1.5\nnull: null\n")
    assert yaml_values(file) == {"on": True, "1": "2001-12-14", "0x10": 1.5, "null": None}
    assert yaml_texts(file) == {"on": "yes", "1": "2001-12-14", "0x10": "1.5", "null": "null"}


def test_large_files_and_pipes_are_not_read(tmp_path: Path) -> None:
    large, pipe = tmp_path / "large.yaml", tmp_path / "pipe.yaml"
    large.write_bytes(b"name: " + b"y" * 2_000_000)
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="2000006 bytes, expected at most"):
        yaml_values(large)
    with pytest.raises(InputError, match="not a pipe"):
        yaml_values(pipe)


@pytest.mark.parametrize("text", HOSTILE)
def test_every_door_says_one_short_line(text: str | bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort, out, file = tmp_path / "cohort", str(tmp_path / "o"), tmp_path / "s.yaml"
    cohort.mkdir()
    (cohort / "patients.csv").write_text("patient_id,center,aln_status\nP,a,1\n")
    for path in (cohort / "cohort.yaml", file):
        path.write_bytes(as_bytes(text))
    sweep = ["sweep", "run", str(file), "--cohort", str(cohort), "--out", out]
    doors = {1: [["check", str(cohort)]], 2: [["train", str(cohort), "--out", out, "--config", str(file)], sweep]}
    doors[2] += [["split", str(cohort)], ["train", str(cohort), "--out", out, f"--crop={file}"]]
    for code, several in doors.items():
        for words in several:
            assert main(words) == code, words
            error = capsys.readouterr().err
            assert error
            assert len(error) < 600
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seeds: 1000000000\n", "seeds: expected a count"),
        (f"seeds: 0x{'f' * 100_000}\n", "a number of 100002 digits"),
        (f"seeds: {'9' * 10_000}\n", "digits"),
        ("seeds: [99999999999999999999999]\n", "seeds: expected a count"),
        ("seed: 2001-12-14\n", "seed: expected a whole number"),
        ("folds: 1000000000\n", "folds: expected a count"),
        ("search: {trials: 1000000000000}\n", "trials: expected a count"),
        ("search: {space: {optim.lr: {low: 1.0e-300, high: 1.0e+300}}}\n", "optim.lr: expected"),
        ("search: {space: {optim.weight_decay: {low: 0, high: 1, step: 1.0e-300}}}\n", "step: expected"),
        ("grid: {crop.margin: [0, 1]}\nseeds: 9999\n", "19998 cells: expected at most"),
        ("null: 1\n", "null: unknown key"),
        ("1.5: {a: 1}\n", "1.5: unknown key"),
        ("crop: 5\n", "crop: expected settings"),
        ("steps: 5\n", "steps: expected a name"),
        ("steps: {a: 5}\n", "steps: a: expected settings"),
        ("steps: {a: {crop: 5}}\n", "steps: a: crop: expected settings"),
        ("pretrain: 5\n", "pretrain: expected settings"),
        ("base: 5\n", "base: expected a file"),
        ("test: maybe\n", "test: expected true or false"),
    ],
)
def test_a_sweep_of_no_sense_is_refused_in_one_line(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    assert main(["sweep", str(file), "--cohort", str(tmp_path / "c"), "--out", str(tmp_path / "o")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error) < 600
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    {
        "a: 1\nb: !!int 3#\n": "line 2: '3#' is no !!int",
        "a: !!float x\n": "'x' is no !!float",
        "a: !!bool q\n": "'q' is no !!bool",
        "a: !!int ''\n": "'' is no !!int",
        "- !!map [1]\n": "line 1: expected words with values",
        "a: &id001 [1]\nb: *id001\n": "PyYAML writes aliases for what stands twice",
    }.items(),
)
def test_a_value_that_its_own_tag_denies_is_refused_by_line(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UnreadableYaml, match=words):
        yaml_values(tmp_path / "c.yaml")
