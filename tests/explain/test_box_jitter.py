"""Box jitter against a planted truth: pictures that are ramps, and networks that read brightness or contrast."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mammo_aln.crops.requests import CropRequest
from mammo_aln.dicom.orientation import Orientation
from mammo_aln.dicom.read import read_image
from mammo_aln.errors import InputError
from mammo_aln.explain.contributions import Shares
from mammo_aln.explain.robustness import MOVES, drawn_box, jitter_split, moved_box
from mammo_aln.explain.summaries import jitter_table, resampled_means, summarise_jitter, summarise_shares
from mammo_aln.inference.frozen import FrozenRun
from mammo_aln.settings import CropConfig, DataConfig, PixelConfig, Settings, TrainerConfig
from mammo_aln.training.data.datamodule import MammoDataModule
from tests.support.crop_cohort import image, patient, write_image, write_tables

ROW_MM, COLUMN_MM, ROWS, COLUMNS = 0.3, 0.4, 400, 300
MOVE = {move.name: move for move in MOVES}


def read_by(what: str):
    """A module whose logit is the mean or the spread of a patient's crop."""
    return lambda batch: getattr(batch["crops"].flatten(1), what)(dim=1)


def ramp_cohort(root: Path, *, spacing: bool = True, sides: str = "LR"):
    """Brightness falls away from the chest wall and downwards, evenly."""
    root.mkdir(parents=True)
    away = np.arange(COLUMNS) + 0.5
    patients, images, regions = [], [], []
    for side in sides:
        x = away if side == "L" else away[::-1]
        pixels = 3900 - 8.0 * x[None, :] - 2.0 * (np.arange(ROWS) + 0.5)[:, None]
        spaced = [ROW_MM, COLUMN_MM] if spacing else None
        write_image(root / f"{side}.dcm", np.rint(pixels).astype(np.uint16), side=side, ImagerPixelSpacing=spaced)
        patients.append(patient(side, aln_status="", split="external_test"))
        images.append(image(side, side, side))
        regions.append((side, "primary", 130, 180, 170, 220))
    return write_tables(root, patients, images, regions)


def frozen_run(cohort, module, crop: CropConfig) -> FrozenRun:
    data = MammoDataModule(cohort, crop, inputs=("primary",), data=DataConfig(batch_size=4), splits=("external_test",))
    about = {
        "threshold": {"value": 0.5},
        "calibration": {"method": "temperature", "temperature": 1.0, "intercept": 0.0},
    }
    settings = Settings(pixels=PixelConfig(), crop=crop, trainer=TrainerConfig(accelerator="cpu"))
    return FrozenRun("test", "", settings, about, module, data, torch.device("cpu"))


def wide(moved: pd.DataFrame) -> pd.DataFrame:
    assert set(moved["box"]) == {"", "primary"}
    return moved.pivot(index="index", columns="move", values="logit")


@pytest.mark.parametrize("strategy", ["fixed_5cm", "lesion_margin", "lesion_box"])
def test_shifts_change_the_brightness_by_the_ramp(tmp_path: Path, strategy: str) -> None:
    cohort = ramp_cohort(tmp_path / "c")
    crop = CropConfig(strategy=strategy, size_px=64, size_mm=30.0, auxiliary=())
    found = wide(jitter_split(frozen_run(cohort, read_by("mean"), crop), "external_test"))
    for place, side in enumerate("LR"):
        shown = read_image(tmp_path / "c" / f"{side}.dcm").pixels
        per_column = abs(float(shown[:, -1].mean() - shown[:, 0].mean())) / (COLUMNS - 1)
        per_row = abs(float(shown[-1].mean() - shown[0].mean())) / (ROWS - 1)
        row = found.loc[place] - found.loc[place, "unmoved"]
        assert row["towards_wall"] == pytest.approx(per_column * 2.0 / COLUMN_MM, rel=0.01)
        assert row["away_from_wall"] == pytest.approx(-per_column * 2.0 / COLUMN_MM, rel=0.01)
        assert row["up"] == pytest.approx(per_row * 2.0 / ROW_MM, rel=0.02)
        assert row["down"] == pytest.approx(-per_row * 2.0 / ROW_MM, rel=0.02)
        assert abs(row["larger"]) < 1e-4


def test_size_counts_where_the_window_follows_the_box(tmp_path: Path) -> None:
    """On a ramp the spread of a crop grows as its side."""
    cohort = ramp_cohort(tmp_path / "c")
    for strategy, factor in (("lesion_box", 0.1), ("fixed_5cm", 0.0)):
        crop = CropConfig(strategy=strategy, size_px=64, size_mm=30.0, auxiliary=())
        found = wide(jitter_split(frozen_run(cohort, read_by("std"), crop), "external_test"))
        assert np.allclose(found["larger"] / found["unmoved"], 1 + factor, atol=2e-3)
        assert np.allclose(found["smaller"] / found["unmoved"], 1 - factor, atol=2e-3)
        assert (found["smaller"] <= found["unmoved"]).all()
        assert (found["unmoved"] <= found["larger"]).all()


def test_without_spacing_millimetres_are_left_out_and_said(tmp_path: Path) -> None:
    cohort = ramp_cohort(tmp_path / "c", spacing=False, sides="L")
    crop = CropConfig(strategy="lesion_box", size_px=64, auxiliary=())
    moved = jitter_split(frozen_run(cohort, read_by("mean"), crop), "external_test")
    found = wide(moved)
    assert found[["towards_wall", "away_from_wall", "up", "down"]].isna().all(axis=None)
    assert found[["unmoved", "smaller", "larger"]].notna().all(axis=None)
    assert set(moved.loc[moved["logit"].isna(), "reason"]) == {"the pixel spacing is unknown"}
    table = jitter_table(moved.assign(score=moved["logit"]), found["unmoved"].to_numpy(), 0.5)
    (entry,) = summarise_jitter(table, ["L"])
    assert entry["left_out"] == {"the pixel spacing is unknown": 1}
    assert set(entry["moves"]) == {"smaller", "larger"}


def test_a_whole_breast_depends_on_no_box(tmp_path: Path) -> None:
    cohort = ramp_cohort(tmp_path / "c")
    crop = CropConfig(strategy="whole_breast", size_px=64, auxiliary=())
    assert jitter_split(frozen_run(cohort, read_by("mean"), crop), "external_test").empty


def test_a_file_that_changed_under_the_store_is_refused(tmp_path: Path) -> None:
    cohort = ramp_cohort(tmp_path / "c", sides="L")
    crop = CropConfig(strategy="fixed_5cm", size_px=64, size_mm=30.0, auxiliary=())
    frozen = frozen_run(cohort, read_by("mean"), crop)
    store = frozen.data.crop_set.open_store()
    (pixels,) = (store.path / "segments").glob("*.u16")
    pixels.write_bytes(b"\0" * pixels.stat().st_size)
    with pytest.raises(InputError, match="does not give the stored crop"):
        jitter_split(frozen, "external_test")


def test_boxes_move_in_the_shown_orientation() -> None:
    box = (10.0, 20.0, 30.0, 60.0)
    plain, turned = Orientation(), Orientation(True, True)
    assert moved_box(box, MOVE["away_from_wall"], (0.5, 0.2), plain) == (14.0, 20.0, 34.0, 60.0)
    assert moved_box(box, MOVE["away_from_wall"], (0.5, 0.2), turned) == (6.0, 20.0, 26.0, 60.0)
    assert moved_box(box, MOVE["down"], (0.5, 0.2), plain) == (10.0, 30.0, 30.0, 70.0)
    assert moved_box(box, MOVE["down"], (0.5, 0.2), turned) == (10.0, 10.0, 30.0, 50.0)
    assert moved_box(box, MOVE["larger"], None, plain) == pytest.approx((9.0, 18.0, 31.0, 62.0))


def test_what_is_placed_by_which_box() -> None:
    plain = CropRequest("u", "p", "i", "primary", 1, "fixed_5cm", (0.0, 0.0, 1.0, 1.0), 50.0)

    def request(region: str, **changes) -> CropRequest:
        return replace(plain, region=region, **changes)

    assert drawn_box(request("primary")) == "primary"
    assert drawn_box(request("axilla")) == "axilla"
    assert drawn_box(request("other_view")) == drawn_box(request("peritumoral")) == "primary"
    assert drawn_box(request("axilla", box=None, estimate="axilla")) is None
    mirrored = {"box": None, "estimate": "contralateral", "mirror_of": ("j", (0.0, 0.0, 1.0, 1.0))}
    assert drawn_box(request("contralateral", **mirrored)) == "primary"
    assert drawn_box(request("primary", strategy="whole_breast")) is None
    assert drawn_box(request("peritumoral", strategy="whole_breast", scale=1.6)) == "primary"


def test_table_and_summary_of_known_scores() -> None:
    scores = np.array([0.4, 0.9])
    rows = [{"index": i, "box": "", "move": "unmoved", "score": s, "reason": ""} for i, s in enumerate(scores)]
    moved = {"towards_wall": 0.6, "away_from_wall": 0.3, "up": 0.4, "down": 0.4, "smaller": 0.4, "larger": 0.4}
    rows += [{"index": 0, "box": "primary", "move": name, "score": s, "reason": ""} for name, s in moved.items()]
    rows += [{"index": 1, "box": "primary", "move": name, "score": 0.9, "reason": ""} for name in moved]
    table = jitter_table(pd.DataFrame(rows), scores, 0.5)
    assert table["max"].tolist() == pytest.approx([0.2, 0.0])
    assert table["sd"].tolist() == pytest.approx([np.std([0.4, *moved.values()]), 0.0])
    assert table["flips"].tolist() == [True, False]
    (entry,) = summarise_jitter(table, ["a", "b"])
    assert entry["flips"]["value"] == 0.5
    assert entry["moves"]["towards_wall"]["value"] == pytest.approx(0.1)
    assert entry["max"]["ci_low"] == 0.0
    assert entry["max"]["ci_high"] == pytest.approx(0.2)


def test_bootstrap_draws_whole_patients() -> None:
    """Two rows of a patient never part: their mean is drawn as one; and the spread is that of the mean."""
    values = np.random.default_rng(0).normal(size=(400, 1))
    alone = resampled_means(values, range(400))
    assert alone.std() == pytest.approx(values.std() / 20, rel=0.1)
    doubled = resampled_means(np.repeat(values, 2, axis=0), np.repeat(np.arange(400), 2))
    assert doubled.std() == pytest.approx(alone.std(), rel=0.1)


def test_shares_sum_to_one_and_nothing_has_no_share() -> None:
    shapley = np.array([[1.0, -1.0, 2.0, 0.0], [0.5, 0.5, -0.5, 0.5], [0.0, 0.0, 0.0, 0.0]])
    rows = summarise_shares(Shares(("a", "b", "c"), np.ones((4, 3), bool), shapley, shapley), list("wxyz"))
    assert [row["share"]["value"] for row in rows] == pytest.approx([2 / 3, 1 / 3, 0.0])
    assert rows[0]["share"]["ci_low"] < 2 / 3 < rows[0]["share"]["ci_high"]
    still = np.zeros((1, 4))
    nothing = summarise_shares(Shares(("a",), np.ones((4, 1), bool), still, still), list("wxyz"))
    assert nothing[0]["share"] == {"value": None, "reason": "no input moves the score"}
