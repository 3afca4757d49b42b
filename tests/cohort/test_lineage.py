"""The data sets that a cohort states: read from cohort.yaml, told in words, asked before anything is passed on."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammo_aln.cohort.lineage import Source, lineage_lines, road_warnings
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.errors import InputError


def cohort(folder: Path, dataset: str, more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "patients.csv").write_text("patient_id,center,aln_status\na,x,1\n")
    (folder / "cohort.yaml").write_text(f"name: c\n{dataset}{more}")
    return folder


def test_one_data_set_or_a_list_of_them_is_read(tmp_path: Path) -> None:
    one = cohort(tmp_path / "a", "dataset: {name: A, licence: CC BY 4.0, terms: [attribution], citation: Lee 2017}\n")
    assert read_cohort(one, need=("patients",)).sources == (Source("A", "CC BY 4.0", ("attribution",), "Lee 2017"),)
    two = cohort(tmp_path / "b", "dataset:\n- {name: A}\n- {name: B, terms: ask Emory first}\n")
    assert [source.name for source in read_cohort(two, need=("patients",)).sources] == ["A", "B"]
    none = cohort(tmp_path / "c", "")
    assert read_cohort(none, need=("patients",)).sources == ()


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ("dataset: EMBED\n", "dataset = 'EMBED': expected a mapping"),
        ("dataset: {licence: CC BY 4.0}\n", "dataset.name"),
        ("dataset: {name: A, license: CC BY 4.0}\n", "dataset.license = 'CC BY 4.0': expected only name, licence"),
        ("dataset: {name: [A]}\n", "expected a single value"),
        ("dataset: [{name: A}, B]\n", "dataset[2] = 'B'"),
        ("dataset: {name: A, terms: {a: b}}\n", "a text or a list of words"),
    ],
)
def test_a_dataset_block_that_is_none_is_refused(tmp_path: Path, dataset: str, words: str) -> None:
    with pytest.raises(InputError) as refused:
        read_cohort(cohort(tmp_path / "c", dataset), need=("patients",))
    assert words in str(refused.value)


def test_an_outcome_is_never_a_clinical_feature(tmp_path: Path) -> None:
    clinical = "clinical:\n  rcb: {kind: categorical}\n"
    with pytest.raises(InputError, match=r"clinical\.rcb = 'rcb': expected another column: `outcomes` says"):
        read_cohort(cohort(tmp_path / "c", "outcomes: {rcb: post_surgery}\n", clinical), need=("patients",))
    with pytest.raises(InputError, match=r"outcomes\.rcb = 'baseline': expected one of post_nat, post_surgery"):
        read_cohort(cohort(tmp_path / "c", "outcomes: {rcb: baseline}\n"), need=("patients",))


@pytest.mark.parametrize(
    ("licence", "terms"),
    [
        ("CC BY 4.0", {"attribution"}),
        ("CC BY-NC 4.0", {"attribution", "non-commercial"}),
        ("cc-by-nc-sa-4.0", {"attribution", "non-commercial", "share-alike"}),
        ("CC BY-NC-ND", {"attribution", "non-commercial", "no-derivatives"}),
        ("research, noncommercial", {"non-commercial"}),
        ("Apache-2.0", set()),
        ("Encyclopaedia", set()),
    ],
)
def test_a_licence_says_some_terms_by_its_name(licence: str, terms: set[str]) -> None:
    assert set(Source("A", licence).all_terms) == terms


def test_what_a_road_forbids_is_told_with_the_source_that_forbids_it() -> None:
    embed = Source("EMBED", "research use agreement", ("no-published-weights", "no-redistribution"))
    free = Source("CBIS", "CC BY 3.0")
    (line,) = road_warnings([free, embed], "weights")
    assert "EMBED" in line
    assert "must not be published" in line
    (line,) = road_warnings([free, embed], "crops")
    assert "must not be passed on" in line
    assert road_warnings([free], "weights") == []
    assert "ask Emory first" in road_warnings([Source("B", terms=("ask Emory first",))], "weights")[0]
    assert "licence not stated" in "\n".join(lineage_lines([Source("B")]))
