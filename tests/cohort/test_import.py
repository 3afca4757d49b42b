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
    assert main(["import", "cbis-ddsm", str(DATA), "--out", str(out)]) == 2
    assert "stands there already" in capsys.readouterr().err


def test_vindr_becomes_a_cohort(tmp_path: Path) -> None:
    source = tmp_path / "vindr"
    source.mkdir()
    (source / "finding_annotations.csv").write_text(
        "study_id,image_id,laterality,view_position,breast_birads,breast_density,finding_categories,xmin,ymin,xmax,ymax,"
        "split\ns,a,L,CC,BI-RADS 5,DENSITY C,['Mass'],1,2,30,40,training\n"
    )
    assert main(["import", "--name=vindr", "--source", str(source), "--out", str(tmp_path / "c")]) == 0
    cohort = read_cohort(tmp_path / "c")
    assert cohort.regions["region"].tolist() == ["primary"]
    assert cohort.patients["aln_status"].tolist() == [1]


def test_ispy_needs_both_tables(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    assert main(["import", "ispy", str(shared / "data/clinical"), "--out", str(tmp_path / "c")]) == 0
    assert len(read_cohort(tmp_path / "c", need=("patients",)).patients) == 982 + 221


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["inbreast", str(DATA)], ["name = 'inbreast'", "cbis-ddsm, duke, ispy, vindr"]),
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
