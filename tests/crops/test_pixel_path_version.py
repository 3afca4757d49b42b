"""The store's key sees the code by `PIXEL_PATH_VERSION` alone: it must be raised when a crop changes.

python tests/crops/test_pixel_path_version.py      # after raising it: keep the new crops
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from mammo_aln.crops.build import build_crops
from mammo_aln.crops.keys import PIXEL_PATH_VERSION
from mammo_aln.settings import CropConfig, PixelConfig
from tests.support.crop_cohort import image, mammogram, patient, write_image, write_tables

KEPT = Path(__file__).parents[1] / "data" / "pixel_path.npz"
LEVELS_APART = 32
"""Of 65,535: what other processors' arithmetic may differ by."""
KINDS = {
    "window": {"WindowCenter": 1500, "WindowWidth": 2600},
    "sigmoid": {"WindowCenter": 1500, "WindowWidth": 2600, "VOILUTFunction": "SIGMOID", "inverted": True},
    "full": {},
    "right": {"WindowCenter": 1500, "WindowWidth": 2600, "side": "R"},
    "processing": {"PresentationIntentType": "FOR PROCESSING", "PixelIntensityRelationshipSign": -1},
}


def crops(folder: Path) -> dict[str, np.ndarray]:
    images, regions = [], []
    for name, tags in KINDS.items():
        side = tags.get("side", "L")
        pixels = mammogram(500, 360, 0.3, 0.4, dots_mm=[(40.0, 60.0), (52.0, 80.0)], side=side)
        write_image(folder / f"{name}.dcm", pixels, view="MLO", ImagerPixelSpacing=[0.3, 0.4], **tags)
        images.append(image(name, name, laterality=side, view="MLO"))
        regions.append((name, "primary", 85, 180, 140, 275))
    cohort = write_tables(folder, [patient(name) for name in KINDS], images, regions)
    made = build_crops(cohort, PixelConfig(), CropConfig(strategy="all", size_px=24, auxiliary=("axilla",)), workers=1)
    store = made.open_store()
    return {
        f"{row.image_id}.{row.region}.{row.strategy}": store.read_surround(row.key) for row in made.table.itertuples()
    }


def test_crops_change_only_with_the_version(tmp_path: Path) -> None:
    with np.load(KEPT) as kept:
        assert int(kept["version"]) == PIXEL_PATH_VERSION, f"keep the new crops: python {Path(__file__).name}"
        found = crops(tmp_path)
        assert set(found) == set(kept.files) - {"version"}
        apart = {name: int(np.abs(kept[name].astype(int) - crop.astype(int)).max()) for name, crop in found.items()}
    assert max(apart.values()) <= LEVELS_APART, f"raise PIXEL_PATH_VERSION: {apart}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made_in:
        np.savez_compressed(KEPT, version=PIXEL_PATH_VERSION, **crops(Path(made_in)))
