"""The verb `import`: a public data set's tables become a cohort that reads, or one plain line says why not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mammo_aln.cli import main
from mammo_aln.cohort.tables import read_cohort

DATA = Path(__file__).parent / "data"


def test_cbis_ddsm_becomes_a_cohort(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cohort"
    assert main(["import", "cbis-ddsm", str(DATA), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}\n"
    assert "cbis-ddsm: " in said.err
    cohort = read_cohort(out, need=("patients", "images"))
    assert cohort.dicom_root == DATA
    tables = [pd.read_csv(path, dtype=str) for path in DATA.glob("cbis*.csv")]
    assert set(cohort.patients["patient_id"]) == set(pd.concat(tables)["patient_id"])
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main(["import", "cbis-ddsm", str(DATA), "--out", str(out)]) == 2
    assert "something stands there already; choose a new folder" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (tmp_path / "file").write_text("")
    assert main(["import", "cbis-ddsm", str(DATA), "--out", str(tmp_path / "file")]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cohort", "file"]  # no unfinished folder


def test_a_spacing_is_stated_for_film_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["import", "cbis-ddsm", str(DATA), "--out", str(tmp_path / "c")]
    assert main([*words, "--spacing_mm", "50"]) == 2
    assert "--spacing_mm 50: expected millimetres" in capsys.readouterr().err
    assert main([*words, "--spacing_mm", "0.05"]) == 0
    assert set(read_cohort(tmp_path / "c", need=("images",)).images["spacing_mm"]) == {0.05}
    assert main(["import", "duke", str(DATA), "--out", str(tmp_path / "d"), "--spacing_mm", "0.05"]) == 2
    assert "duke has its own (in the DICOM series)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["inbrest", str(DATA)], ["name = 'inbrest'", "did you mean inbreast", "vindr, cbis-ddsm"]),
        (["mammo-mx", str(DATA)], ["no file of Mammo-MX"]),
        (["vindr", "nowhere"], ["nowhere", "no such folder", "tables of vindr"]),
        (["vindr", str(DATA)], ["finding_annotations.csv", "no such file"]),
        (["duke", str(DATA)], ["Clinical_and_Other_Features.xlsx", "no such file"]),
        (["ispy", str(DATA)], ["I-SPY_1_All_Patient_Clinical_and_Outcome_Data.xlsx", "no such file"]),
        (["vindr"], ["missing --source"]),
        ([], ["missing --name, --source"]),
        (["vindr", "a", "b"], ["'b'"]),
    ],
)
def test_wrong_words_are_answered_in_one_line(
    words: list[str], expected: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", *words, "--out", str(tmp_path / "c")]) == 2
    error = capsys.readouterr().err
    assert all(text in error for text in expected), error
    assert error.count("\n") == 1
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("content", [b"", b"a;b\n1;2\n", b"\xff\xfe\x00\x01", b"study_id\n1,2\n3,4,5\n"])
def test_a_table_that_is_not_the_sets_is_named(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "finding_annotations.csv").write_bytes(content)
    (tmp_path / "Clinical_and_Other_Features.xlsx").write_bytes(content)
    for name in ("vindr", "duke"):
        assert main(["import", name, str(tmp_path), "--out", str(tmp_path / "c")]) == 2
        assert not (tmp_path / "c").exists()
    assert "finding_annotations.csv: " in capsys.readouterr().err
