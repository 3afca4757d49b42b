"""Which crops a cohort asks for: sides, views, several boxes, estimates, mirror places."""

from __future__ import annotations

import numpy as np
import pytest

from mammo_aln.crops.build import build_crops
from mammo_aln.crops.regions import auxiliary_names, plan_crops
from mammo_aln.crops.requests import linked_groups
from mammo_aln.crops.window import source_to_crop
from mammo_aln.errors import InputError
from mammo_aln.settings import STRATEGIES, CropConfig, PixelConfig
from tests.support.crop_cohort import image, mammogram, patient, write_image, write_tables

BOTH_VIEWS = [image("cc", "p"), image("mlo", "p", view="MLO"), image("rcc", "p", "R"), image("rmlo", "p", "R", "MLO")]


def wanted(cohort, **crop) -> list[tuple]:
    plan = plan_crops(cohort, CropConfig(**{"auxiliary": (), **crop}))
    found = [
        (request.unit_id, request.image_id, request.region, request.ordinal, request.strategy)
        for each in plan.images
        for request in each.requests
    ]
    return sorted(found)


def reasons(cohort, **crop) -> list[tuple[str, str, str]]:
    plan = plan_crops(cohort, CropConfig(**{"auxiliary": (), **crop}))
    return [(one.image_id, one.region, one.reason) for one in plan.exclusions]


def test_primary_takes_every_box_on_every_view_of_the_treated_side(tmp_path):
    regions = [("cc", "primary", 1, 1, 9, 9), ("cc", "primary", 20, 1, 29, 9), ("mlo", "primary", 1, 1, 9, 9)]
    cohort = write_tables(tmp_path, [patient("p")], BOTH_VIEWS, regions)
    assert wanted(cohort) == [
        ("p", "cc", "primary", 1, "fixed_5cm"),
        ("p", "cc", "primary", 2, "fixed_5cm"),
        ("p", "mlo", "primary", 1, "fixed_5cm"),
    ]
    # the whole breast of an image is one crop, however many lesions it has
    assert [row[1:4] for row in wanted(cohort, strategy="whole_breast")] == [
        ("cc", "primary", 1),
        ("mlo", "primary", 1),
    ]
    assert {row[4] for row in wanted(cohort, strategy="all")} == {
        "whole_breast",
        "lesion_box",
        "lesion_margin",
        "fixed_5cm",
    }


def test_a_side_keeps_the_other_breast_out(tmp_path):
    regions = [("cc", "primary", 1, 1, 9, 9), ("rcc", "primary", 1, 1, 9, 9)]
    cohort = write_tables(tmp_path, [patient("p", side="R"), patient("p", side="L")], BOTH_VIEWS, regions)
    assert [row[:3] for row in wanted(cohort)] == [("p/L", "cc", "primary"), ("p/R", "rcc", "primary")]


def test_other_view_takes_the_second_view_from_the_primary_region(tmp_path):
    regions = [("mlo", "primary", 1, 1, 9, 9), ("cc", "primary", 5, 5, 9, 9)]
    cohort = write_tables(tmp_path, [patient("p")], BOTH_VIEWS, regions)
    assert [row[1:3] for row in wanted(cohort, auxiliary=("other_view",))] == [("cc", "primary"), ("mlo", "other_view")]
    alone = write_tables(tmp_path, [patient("p")], BOTH_VIEWS, regions[:1])
    assert [row[1:3] for row in wanted(alone, auxiliary=("other_view",))] == [("mlo", "primary")]
    assert reasons(alone, auxiliary=("other_view",)) == [("", "other_view", "no primary box on a second view")]


def test_annotated_and_named_regions(tmp_path):
    regions = [
        ("cc", "primary", 1, 1, 9, 9),
        ("mlo", "node", 1, 1, 9, 9),
        ("cc", "clip", 1, 1, 3, 3),
        ("rcc", "clip", 1, 1, 3, 3),
    ]
    cohort = write_tables(tmp_path, [patient("p"), patient("q")], [*BOTH_VIEWS, image("q", "q")], regions)
    assert auxiliary_names(cohort, CropConfig(auxiliary=("annotated", "peritumoral"))) == (
        "clip",
        "node",
        "peritumoral",
    )
    found = [row[1:3] for row in wanted(cohort, auxiliary=("annotated",))]
    assert found == [("cc", "clip"), ("cc", "primary"), ("mlo", "node")]
    assert ("", "node", "no box named node in regions.csv") in reasons(cohort, auxiliary=("node",))
    with pytest.raises(InputError, match=r"crop.auxiliary = nodes: .*clip, node"):
        plan_crops(cohort, CropConfig(auxiliary=("nodes",)))


def test_axilla_is_the_annotated_box_or_an_estimate_on_the_oblique_view(tmp_path):
    drawn = [("cc", "primary", 1, 1, 9, 9), ("mlo", "axilla", 1, 1, 9, 9)]
    plan = plan_crops(write_tables(tmp_path, [patient("p")], BOTH_VIEWS, drawn), CropConfig())
    (found,) = [request for each in plan.images for request in each.requests if request.region == "axilla"]
    assert (found.image_id, found.box, found.estimated) == ("mlo", (1, 1, 9, 9), False)
    plan = plan_crops(write_tables(tmp_path, [patient("p")], BOTH_VIEWS, drawn[:1]), CropConfig())
    (found,) = [request for each in plan.images for request in each.requests if request.region == "axilla"]
    assert (found.image_id, found.box, found.estimated) == ("mlo", None, True)
    plan = plan_crops(write_tables(tmp_path, [patient("p")], BOTH_VIEWS[:1], drawn[:1]), CropConfig())
    assert [one.region for one in plan.exclusions] == ["axilla"]


def test_without_a_box_only_the_whole_breast_can_be_had(tmp_path):
    rows, other = [*BOTH_VIEWS, image("q", "q")], [("q", "clip", 1, 1, 9, 9)]
    cohort = write_tables(tmp_path, [patient("p", side="L"), patient("q", side="R")], rows, other)
    assert [row[1] for row in wanted(cohort, strategy="whole_breast")] == ["cc", "mlo"]
    assert wanted(cohort) == []
    assert reasons(cohort) == [
        ("", "primary", "no primary box in regions.csv, which fixed_5cm needs"),
        ("", "primary", "no image of the treated side"),
    ]
    unsided = write_tables(tmp_path, [patient("p")], BOTH_VIEWS, [("cc", "clip", 1, 1, 9, 9)])
    ((_, _, reason),) = reasons(unsided, strategy="whole_breast")
    assert "treated side is unknown" in reason


def test_patients_that_are_not_eligible_ask_for_nothing(tmp_path):
    regions = [("cc", "primary", 1, 1, 9, 9)]
    assert wanted(write_tables(tmp_path, [patient("p", eligible=0)], BOTH_VIEWS, regions)) == []


def test_contralateral_images_come_with_the_lesion_they_mirror(tmp_path):
    regions = [("cc", "primary", 1, 1, 9, 9)]
    rows = [*BOTH_VIEWS, image("other", "q")]
    cohort = write_tables(tmp_path, [patient("p"), patient("q")], rows, [*regions, ("other", "primary", 1, 1, 9, 9)])
    plan = plan_crops(cohort, CropConfig(auxiliary=("contralateral",)))
    groups = [{each.image_id for each in group} for group in linked_groups(plan.images)]
    assert groups == [{"cc", "rcc"}, {"other"}]
    assert [(one.image_id, one.region) for one in plan.exclusions] == [("other", "contralateral")]


@pytest.mark.parametrize("bilateral", [False, True])
def test_contralateral_crop_shows_the_mirror_place(tmp_path, bilateral):
    """A dot in the right breast, as far from the nipple as the left one's lesion, comes out in the crop's middle."""
    rows, columns, mm = 500, 360, 0.3
    lesion_mm = (40.0, rows * mm / 2 - 12.0)
    mirrored_mm = (columns * mm - lesion_mm[0], lesion_mm[1])
    write_image(tmp_path / "cc.dcm", mammogram(rows, columns, mm, mm, dots_mm=[lesion_mm]), ImagerPixelSpacing=[mm, mm])
    right = mammogram(rows, columns, mm, mm, dots_mm=[mirrored_mm], side="R")
    write_image(tmp_path / "rcc.dcm", right, side="R", ImagerPixelSpacing=[mm, mm])
    x, y = lesion_mm[0] / mm, lesion_mm[1] / mm
    regions = [("cc", "primary", x - 10, y - 10, x + 10, y + 10)]
    patients = [patient("p", side="L")]
    if bilateral:  # both breasts hold a lesion, so that each is the other's mirror
        right_x = mirrored_mm[0] / mm
        regions.append(("rcc", "primary", right_x - 10, y - 10, right_x + 10, y + 10))
        patients.append(patient("p", side="R"))
    cohort = write_tables(tmp_path, patients, [image("cc", "p"), image("rcc", "p", "R")], regions)
    crops = build_crops(cohort, PixelConfig(), CropConfig(auxiliary=("contralateral",)), workers=1)
    store = crops.open_store()
    found = crops.table[crops.table["region"] == "contralateral"]
    assert sorted(found["image_id"]) == (["cc", "rcc"] if bilateral else ["rcc"])
    for row in found.to_dict("records"):
        assert "contralateral_estimated" in row["fallbacks"]
        record = store.crop(row["key"])
        turned = store.image(record.image).orientation
        dot_mm = mirrored_mm if row["image_id"] == "rcc" else lesion_mm
        place = source_to_crop(np.array([dot_mm]) / mm, record.window, 256, turned)
        np.testing.assert_allclose(place, [[128, 128]], atol=2.5 * 256 / 50)  # 2.5 mm: the nipple's own uncertainty
        assert store.read(row["key"])[98:158, 98:158].max() > 50000


def test_peritumoral_window_is_wider_and_has_the_lesion_in_its_middle(tmp_path):
    write_image(tmp_path / "cc.dcm", mammogram(500, 360, 0.3, 0.3), ImagerPixelSpacing=[0.3, 0.3])
    cohort = write_tables(tmp_path, [patient("p")], BOTH_VIEWS[:1], [("cc", "primary", 100, 200, 140, 230)])
    for strategy, side_px in (("fixed_5cm", 1.6 * 50 / 0.3), ("lesion_box", 1.6 * 40), ("lesion_margin", 1.6 * 60)):
        config = CropConfig(auxiliary=("peritumoral",), auxiliary_strategy=strategy, size_px=64)
        crops = build_crops(cohort, PixelConfig(), config, workers=1)
        (row,) = crops.table[crops.table["region"] == "peritumoral"].to_dict("records")
        window = crops.open_store().crop(row["key"]).window
        assert window.width == pytest.approx(side_px)
        assert ((window.x_min + window.x_max) / 2, (window.y_min + window.y_max) / 2) == pytest.approx((120, 215))


def test_lesions_that_mirror_onto_one_image_are_numbered_there(tmp_path):
    """Else the second lesion's crop would take the name of the first one's."""
    rows = [image("cc1", "p"), image("rcc", "p", "R")]
    regions = [("cc1", "primary", 1, 1, 9, 9), ("cc1", "primary", 20, 1, 29, 9), ("cc1", "primary", 2, 2, 9, 9)]
    cohort = write_tables(tmp_path, [patient("p", side="L")], rows, regions)
    mirrored = [row[1:] for row in wanted(cohort, auxiliary=("contralateral",)) if row[2] == "contralateral"]
    assert mirrored == [("rcc", "contralateral", number, "fixed_5cm") for number in (1, 2, 3)]


def test_all_names_every_box_under_every_strategy(tmp_path):
    regions = [("cc", "primary", 1, 1, 9, 9), ("cc", "primary", 20, 1, 29, 9)]
    cohort = write_tables(tmp_path, [patient("p")], BOTH_VIEWS, regions)
    assert {row[3:] for row in wanted(cohort, strategy="all")} == {
        (number, strategy) for number in (1, 2) for strategy in STRATEGIES
    }
