"""Which images are read: nothing after NAT, one per patient, side and view, by the order that the manual states."""

from __future__ import annotations

import pandas as pd
import pytest

from mammo_aln.cohort.selection import select_images, used_images
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.crops.regions import plan_crops
from mammo_aln.errors import InputError
from mammo_aln.settings import CropConfig

COLUMNS = [
    "image_id", "patient_id", "path", "laterality", "view", "study", "days", "timepoint", "eligible",
    "exclusion_reason", "kind", "rows", "columns",
]  # fmt: skip
ORDINARY = {
    "patient_id": "p", "laterality": "L", "view": "CC", "study": "s1", "days": "0", "timepoint": "", "eligible": "",
    "exclusion_reason": "", "kind": "projection", "rows": "100", "columns": "80",
}  # fmt: skip


def cohort_of(root, *images, patients="patient_id,center,aln_status\np,A,1\n", boxes=()):
    root.mkdir(exist_ok=True)
    rows = [{**ORDINARY, "path": f"{image['image_id']}.dcm", **image} for image in images]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(root / "images.csv", index=False)
    (root / "patients.csv").write_text(patients)
    if boxes:
        lines = [f"{image},primary,1,1,9,9" for image in boxes]
        (root / "regions.csv").write_text("\n".join(["image_id,region,x_min,y_min,x_max,y_max", *lines]) + "\n")
    return read_cohort(root, need=("patients", "images"))


def used(cohort) -> list[str]:
    return list(used_images(cohort)[0]["image_id"])


def reason_of(cohort) -> dict[str, str]:
    aside = used_images(cohort)[1]
    return dict(zip(aside["image_id"], aside["reason"], strict=True))


def started(day: str) -> str:
    return f"patient_id,center,aln_status,nat_start_day\np,A,1,{day}\n"


BEFORE, AFTER = {"image_id": "a", "study": "s1", "days": "0"}, {"image_id": "b", "study": "s2", "days": "196"}


def test_several_exams_and_no_word_are_refused_with_what_to_type(tmp_path):
    cohort = cohort_of(tmp_path, BEFORE, AFTER)
    with pytest.raises(InputError, match=r"1 patient with several exams .* \(p\): say what is before NAT: nat_"):
        used_images(cohort)
    with pytest.raises(InputError, match="several exams"):
        plan_crops(cohort, CropConfig(auxiliary=(), strategy="whole_breast"))


def test_the_start_of_nat_bars_what_comes_later(tmp_path):
    cohort = cohort_of(tmp_path, BEFORE, AFTER, patients=started("21"))
    assert used(cohort) == ["a"]
    assert reason_of(cohort) == {"b": "after NAT"}
    plan = plan_crops(cohort, CropConfig(auxiliary=(), strategy="whole_breast"))
    assert [image.image_id for image in plan.images] == ["a"]
    assert [(one.image_id, one.region, one.reason) for one in plan.exclusions] == [("b", "image", "after NAT")]
    # the same on any scale: 196 is before 200, and then 0 is a prior
    later = cohort_of(tmp_path, BEFORE, AFTER, patients=started("200"))
    assert used(later) == ["b"]
    assert "prior" in reason_of(later)["a"]


@pytest.mark.parametrize(("day", "expected"), [("195", []), ("196", ["b"]), ("376", ["b"]), ("377", [])])
def test_edges_of_the_start(tmp_path, day, expected):
    """On the day itself is before; 180 days earlier still counts, 181 is a prior."""
    assert used(cohort_of(tmp_path, AFTER, patients=started(day))) == expected


def test_a_word_on_the_image_serves_too(tmp_path):
    cohort = cohort_of(tmp_path, {**BEFORE, "timepoint": "pre_nat"}, {**AFTER, "timepoint": "post_nat"})
    assert used(cohort) == ["a"]
    both = cohort_of(tmp_path, {**BEFORE, "timepoint": "pre_nat"}, {**AFTER, "timepoint": "pre_nat"})
    assert used(both) == ["b"]  # the later one, as nearer to NAT
    half = cohort_of(tmp_path, {**BEFORE, "timepoint": "pre_nat"}, AFTER)
    assert list(select_images(half).undecided["image_id"]) == ["b"]


def test_a_word_against_the_start_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"called pre_nat .* but later than nat_start_day"):
        used_images(cohort_of(tmp_path, {**AFTER, "timepoint": "pre_nat"}, patients=started("21")))


def test_a_start_without_days_is_refused(tmp_path):
    with pytest.raises(InputError, match="images whose days are unknown"):
        used_images(cohort_of(tmp_path, {**BEFORE, "days": "", "study": ""}, patients=started("21")))


def test_exams_without_dates_are_several_exams(tmp_path):
    cohort = cohort_of(
        tmp_path, {**BEFORE, "days": "", "study": "u1"}, {**AFTER, "days": "", "study": "u2", "view": "MLO"}
    )
    with pytest.raises(InputError, match="several exams"):
        used_images(cohort)


def test_patients_that_are_not_eligible_are_not_asked_about(tmp_path):
    patients = "patient_id,center,aln_status,eligible\np,A,1,0\nq,A,0,1\n"
    cohort = cohort_of(tmp_path, BEFORE, AFTER, {"image_id": "c", "patient_id": "q"}, patients=patients)
    assert "c" in used(cohort)


def test_an_image_that_the_user_set_aside_stays_out_and_asks_nothing(tmp_path):
    cohort = cohort_of(tmp_path, BEFORE, {**AFTER, "eligible": "0", "exclusion_reason": "clip in it"})
    assert used(cohort) == ["a"]
    assert reason_of(cohort) == {"b": "a reason stated in images.csv"}  # one patient's own words
    boxed = cohort_of(tmp_path / "boxed", {**AFTER, "eligible": "0", "exclusion_reason": "clip in it"}, boxes=["b"])
    assert reason_of(boxed) == {"b": "a reason stated in images.csv"}


@pytest.mark.parametrize(
    ("better", "worse", "why"),
    [
        ({}, {"kind": "projection for_processing", "rows": "400"}, "For Presentation"),
        ({}, {"kind": "synthetic_2d", "rows": "400"}, "ordinary"),
        ({}, {"kind": "secondary_capture"}, "ordinary"),
        ({}, {"kind": "projection implant_displaced"}, "displaced"),
        ({"rows": "200"}, {"rows": "100"}, "pixels"),
        ({"path": "a/1.dcm"}, {"path": "a/2.dcm"}, "path"),
        ({}, {"kind": "projection magnification spot_compression", "rows": "400"}, "a part of the breast"),
    ],
)
def test_one_image_of_a_view_by_the_stated_order(tmp_path, better, worse, why):
    cohort = cohort_of(tmp_path, {"image_id": "z", **worse}, {"image_id": "m", **better, "view": "CC"})
    assert used(cohort) == ["m"]
    assert why in reason_of(cohort)["z"]


def test_the_order_of_the_order(tmp_path):
    """Nearer to NAT wins over all else, then For Presentation, then the original, then a box, then size."""
    near = {"image_id": "near", "days": "10", "study": "s2", "kind": "synthetic_2d for_processing"}
    cohort = cohort_of(tmp_path, near, {"image_id": "far"}, patients=started("12"), boxes=["far"])
    assert used(cohort) == ["near"]
    assert reason_of(cohort)["far"].endswith("nearer to NAT (regions.csv has a box on it)")
    raw, made = {"image_id": "raw", "kind": "projection for_processing"}, {"image_id": "made", "kind": "synthetic_2d"}
    assert used(cohort_of(tmp_path / "raw", raw, made)) == ["made"]
    boxed = cohort_of(tmp_path / "boxed", {"image_id": "boxed"}, {"image_id": "large", "rows": "900"}, boxes=["boxed"])
    assert used(boxed) == ["boxed"]


def test_views_and_sides_do_not_compete_and_unknown_ones_cannot(tmp_path):
    sides = [{"image_id": f"{side}{view}", "laterality": side, "view": view} for side in "LR" for view in ("CC", "MLO")]
    unknown = [{"image_id": f"u{number}", "view": ""} for number in range(2)]
    assert len(used(cohort_of(tmp_path, *sides, *unknown))) == 6
    assert len(used(cohort_of(tmp_path / "unknown", *unknown))) == 2


def test_a_spot_view_alone_is_no_whole_breast(tmp_path):
    cohort = cohort_of(tmp_path, {"image_id": "spot", "kind": "projection spot_compression"})
    assert used(cohort) == []


def test_tables_of_an_older_index_go_on(tmp_path):
    """No study, no days, no kind: the twin is known by its intent, the spot view by its flag."""
    cohort_of(tmp_path, {"image_id": "a"})
    (tmp_path / "images.csv").write_text(
        "image_id,patient_id,path,laterality,view,presentation_intent,flags\n"
        "a,p,a.dcm,L,CC,FOR PROCESSING,\nb,p,b.dcm,L,CC,FOR PRESENTATION,\nc,p,c.dcm,L,MLO,,spot compression view\n"
        "d,p,d.dcm,L,MLO,,\n"
    )
    assert used(read_cohort(tmp_path, need=("patients", "images"))) == ["b", "d"]


@pytest.mark.parametrize("day", ["20210310", "44265", "2021-03-10"])
def test_a_date_is_no_day(tmp_path, day):
    with pytest.raises(InputError, match="never a date"):
        cohort_of(tmp_path, BEFORE, patients=started(day))
