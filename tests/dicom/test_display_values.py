"""Display values: planted values by the standard's formulas, pydicom as second implementation, broken tags."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.pixels import apply_modality_lut, apply_voi_lut

import mammo_aln
from mammo_aln.crops.provenance import FALLBACK_CODES
from mammo_aln.dicom import voi
from mammo_aln.dicom.provenance import PixelRecipe
from mammo_aln.dicom.read import read_image
from mammo_aln.dicom.voi import VoiWindow
from mammo_aln.errors import InputError, UnreadableDicom
from mammo_aln.settings import PixelConfig
from tests.support.dicom_writer import breast, item, lut_item, write_dicom
from tests.support.stored_pixels import read_stored_pixels

RAMP = np.arange(4096, dtype="u2").reshape(64, 64)


def by_standard(function: str, x: float, c: float, w: float) -> float:
    """The pseudo-code of PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2 with ymin = 0 and ymax = 1."""
    if function == "SIGMOID":
        return 1 / (1 + math.exp(min(-4 * (x - c) / w, 700)))
    if function == "LINEAR_EXACT":
        if x <= c - w / 2:
            return 0.0
        return 1.0 if x > c + w / 2 else (x - c) / w + 0.5
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    return 1.0 if x > c - 0.5 + (w - 1) / 2 else (x - (c - 0.5)) / (w - 1) + 0.5


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(2047.5, 4096), (1000, 300), (40.5, 1), (2000.25, 17.5), (-50, 900)])
def test_window_formulas(function: str, center: float, width: float) -> None:
    x = np.concatenate([np.arange(-300, 4200, 7.0), [center - 0.5, center, center + 0.5, center - 1, center + 1]])
    found = voi.apply_window(x, VoiWindow(center, width, function))
    np.testing.assert_allclose(found, [by_standard(function, v, center, width) for v in x], atol=1e-12)


def show(path: Path, config: PixelConfig | None = None):
    image = read_image(path, config)
    assert image.pixels.dtype == np.float32
    assert image.pixels.min() >= 0
    assert image.pixels.max() <= 1
    assert set(image.fallbacks) <= set(FALLBACK_CODES)
    return image


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (2, -1024), (0.5, 3), (-1, 4095)])
def test_window_in_a_file_as_pydicom_applies_it(
    tmp_path: Path, function: str | None, slope: float, intercept: float
) -> None:
    tags = {
        "WindowCenter": 900,
        "WindowWidth": 700,
        "RescaleSlope": slope,
        "RescaleIntercept": intercept,
        "BitsStored": 12,
    }
    path = write_dicom(tmp_path / "a.dcm", RAMP, VOILUTFunction=function, **tags)
    image = show(path)
    dataset = pydicom.dcmread(path)
    expected = apply_voi_lut(apply_modality_lut(RAMP, dataset), dataset)
    # pydicom returns the window in the range that the stored bits have after rescaling
    low, high = intercept, 4095 * slope + intercept
    np.testing.assert_allclose(image.pixels, (expected - low) / (high - low), atol=2e-6)
    step = dict(image.recipe.steps)["voi_window"]
    assert step == {"center": 900.0, "width": 700.0, "function": function or "LINEAR", "number": 1}


def test_real_lut_files_as_pydicom_applies_them(shared: Path) -> None:
    for name in ("vlut_04.dcm", "mlut_18.dcm"):
        path = shared / "data" / "decode" / name
        dataset = pydicom.dcmread(path)
        modality = apply_modality_lut(dataset.pixel_array, dataset)
        expected = apply_voi_lut(modality, dataset).astype(float) / 65535
        np.testing.assert_allclose(show(path).pixels, expected, atol=1e-6)


def test_first_window_of_several_and_lut_before_window(tmp_path: Path) -> None:
    windows = {"WindowCenter": [1000, 3000], "WindowWidth": [200, 500], "VOILUTFunction": "LINEAR_EXACT"}
    path = write_dicom(tmp_path / "a.dcm", RAMP, **windows)
    assert dict(show(path).recipe.steps)["voi_window"]["center"] == 1000
    path = write_dicom(tmp_path / "a.dcm", RAMP, VOILUTSequence=[lut_item([0, 10, 1023], 2000, 10)], **windows)
    image = show(path)
    assert dict(image.recipe.steps)["voi_lut"]["entries"] == 3
    np.testing.assert_allclose(image.pixels.ravel()[[0, 2000, 2001, 2002, 4095]], [0, 0, 10 / 1023, 1, 1], atol=1e-7)


def test_lut_packed_in_bytes_and_with_65536_entries(tmp_path: Path) -> None:
    packed = item()
    packed.add_new(0x00283002, "US", [5, 0, 8])
    packed.add_new(0x00283006, "OW", bytes([0, 51, 102, 204, 255]) + b"\0")
    path = write_dicom(tmp_path / "a.dcm", RAMP, VOILUTSequence=[packed])
    np.testing.assert_allclose(show(path).pixels.ravel()[:6], [0, 0.2, 0.4, 0.8, 1, 1], atol=1e-6)
    whole = item()
    whole.add_new(0x00283002, "US", [0, 0, 16])
    whole.add_new(0x00283006, "OW", np.arange(65535, -1, -1).astype("<u2").tobytes())
    path = write_dicom(tmp_path / "a.dcm", RAMP, VOILUTSequence=[whole])
    np.testing.assert_allclose(show(path).pixels, 1 - RAMP / 65535, atol=1e-6)


NO_VOI_BREAST = {"WindowCenter": None, "WindowWidth": None}
BROKEN = {
    "no window": (NO_VOI_BREAST, {"no_voi"}),
    "width 0": ({"WindowCenter": 100, "WindowWidth": 0}, {"voi_broken"}),
    "width negative": ({"WindowCenter": 100, "WindowWidth": -50}, {"voi_broken"}),
    "unknown function": ({"WindowCenter": 100, "WindowWidth": 50, "VOILUTFunction": "CUBIC"}, {"voi_broken"}),
    "centre without width": ({"WindowCenter": 100}, {"voi_broken"}),
    "window beside the image": ({"WindowCenter": 60000, "WindowWidth": 50}, {"voi_broken"}),
    "LUT too short": ({"VOILUTSequence": [lut_item([1, 2, 3], 0, 8, count=9)]}, {"voi_broken", "tags_broken"}),
    "rescale slope 0": ({"RescaleSlope": 0, "RescaleIntercept": 5}, {"modality_broken", "no_voi"}),
    "modality LUT too short": (
        {"ModalityLUTSequence": [lut_item([1, 2, 3], 0, 8, count=9)]},
        {"modality_broken", "no_voi", "tags_broken"},
    ),
    "padding everywhere": ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 4095}, {"padding_ignored", "no_voi"}),
    "shape against photometric": ({"PresentationLUTShape": "INVERSE"}, {"presentation_lut_conflict", "no_voi"}),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_step_falls_back_and_is_counted(tmp_path: Path, case: str) -> None:
    tags, codes = BROKEN[case]
    image = show(write_dicom(tmp_path / "a.dcm", RAMP, **tags))
    assert set(image.fallbacks) == codes | {"spacing_imager_only"}
    np.testing.assert_allclose(image.pixels, RAMP / 4095, atol=1e-6)


def test_the_second_window_stands_in_for_a_broken_first(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, WindowCenter=[5, 2048], WindowWidth=[0, 4096])
    image = show(path)
    assert "voi_broken" in image.fallbacks
    assert dict(image.recipe.steps)["voi_window"]["number"] == 2


def test_lut_deeper_than_its_descriptor(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, VOILUTSequence=[lut_item([0, 2048, 4095], 100, 8)])
    image = show(path)
    assert "voi_lut_depth" in image.fallbacks
    assert image.pixels[0, 0] == 0
    assert image.pixels[-1, -1] == 1


def test_constant_image(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.full((20, 20), 7, "u2"))
    for method in ("file", "full_range", "percentile"):
        image = show(path, PixelConfig(voi=method))
        assert "constant_image" in image.fallbacks
        assert image.pixels.max() == image.pixels.min()


@pytest.mark.parametrize("bits", range(9, 17))
@pytest.mark.parametrize("signed", [False, True])
def test_every_bit_depth_keeps_all_its_shades(tmp_path: Path, bits: int, signed: bool) -> None:
    low = -(1 << (bits - 1)) if signed else 0
    values = (np.arange(1 << bits) + low).astype("i2" if signed else "u2").reshape(-1, 128)
    center, width = low + (1 << bits) / 2, 1 << bits
    path = write_dicom(tmp_path / "a.dcm", values, BitsStored=bits, WindowCenter=center, WindowWidth=width)
    shown = show(path).pixels
    assert len(np.unique(shown)) == 1 << bits
    np.testing.assert_allclose(shown.ravel(), np.arange(1 << bits) / ((1 << bits) - 1), atol=2e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    center=st.floats(-100, 5000),
    width=st.floats(
        1.01, 6000
    ),  # a width of 1 is a step, and the standard gives its edge to the dark side in both polarities
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    method=st.sampled_from(["file", "full_range", "percentile"]),
    padding=st.sampled_from([None, (0, 0), (0, 3)]),
)
def test_polarity_invariance(tmp_path_factory, center, width, function, method, padding) -> None:
    """An image stored as its negative in MONOCHROME1, with its window mirrored, looks the same."""
    folder = tmp_path_factory.mktemp("polarity")
    center, width = round(center, 2), round(width, 2)
    pixels = breast(40, 32, top=4000) + np.uint16(5)
    pixels[:, -6:] = 0
    mirrored = 4095 - center + (1 if function == "LINEAR" else 0)
    tags = {"WindowWidth": width, "VOILUTFunction": function, "BitsStored": 12}
    more, less = {}, {}
    if padding:
        more = {"PixelPaddingValue": padding[0], "PixelPaddingRangeLimit": padding[1]}
        less = {"PixelPaddingValue": 4095 - padding[0], "PixelPaddingRangeLimit": 4095 - padding[1]}
    config = PixelConfig(voi=method)
    two = show(write_dicom(folder / "2.dcm", pixels, WindowCenter=center, **tags, **more), config)
    one = show(
        write_dicom(
            folder / "1.dcm",
            (4095 - pixels).astype("u2"),
            WindowCenter=round(mirrored, 2),
            PhotometricInterpretation="MONOCHROME1",
            **tags,
            **less,
        ),
        config,
    )
    np.testing.assert_allclose(one.pixels, two.pixels, atol=2e-6)
    assert one.orientation == two.orientation


def test_padding_becomes_background_in_both_polarities(tmp_path: Path) -> None:
    pixels = np.clip(breast(top=3000), 100, None)
    pixels[:, -10:] = 4095
    for photometric, air in (("MONOCHROME2", 100), ("MONOCHROME1", 100)):
        path = write_dicom(
            tmp_path / "a.dcm",
            pixels,
            PhotometricInterpretation=photometric,
            PixelPaddingValue=4095,
            WindowCenter=2000,
            WindowWidth=4000,
        )
        image = show(path)
        assert (image.pixels[:, -10:] == 0).all()
        assert (image.pixels[pixels == air] > 0).all()
        assert dict(image.recipe.steps)["padding"] == {"first": 4095, "last": 4095}
    path = write_dicom(tmp_path / "a.dcm", pixels, PixelPaddingValue=4095)
    assert (
        dict(show(path, PixelConfig(voi="full_range")).recipe.steps)["voi_full_range"]["high"]
        == pixels[pixels < 4095].max()
    )


def test_percentiles_are_of_the_breast_not_of_the_air(tmp_path: Path) -> None:
    pixels = breast(200, 150, top=3000)
    tissue = pixels[pixels > 0]
    image = show(
        write_dicom(tmp_path / "a.dcm", pixels), PixelConfig(voi="percentile", percentile_low=5, percentile_high=95)
    )
    step = dict(image.recipe.steps)["voi_percentile"]
    assert step["low"] == pytest.approx(np.percentile(tissue, 5), abs=5)
    assert step["high"] == pytest.approx(np.percentile(tissue, 95), abs=5)
    assert (image.pixels[pixels == 0] == 0).all()


def test_percentile_of_a_film_keeps_the_fatty_rim(shared: Path) -> None:
    path = shared / "data" / "mg_dicom" / "MG1_J2KI"
    image = show(path, PixelConfig(voi="percentile"))
    stored = read_stored_pixels(path)
    rim = stored[2600:3400, 1750:1850]  # between fibrous tissue and skin
    assert 800 < dict(image.recipe.steps)["voi_percentile"]["low"] < np.median(rim) - 100


@pytest.mark.parametrize(
    ("tags", "exposure"),
    [
        ({"PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": 1}, lambda t: 10000 * np.exp(-t)),
        ({"PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": 1}, lambda t: 9000 - 2000 * t),
        ({"PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": -1}, lambda t: 500 + 2000 * t),
        ({"PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": -1}, lambda t: 500 + 2000 * t),
        ({"PhotometricInterpretation": "MONOCHROME1"}, lambda t: 10000 * np.exp(-t)),
    ],
)
def test_for_processing_shows_attenuation(tmp_path: Path, tags: dict, exposure) -> None:
    thickness = breast(120, 90, top=1000) / 400.0
    path = write_dicom(
        tmp_path / "a.dcm", exposure(thickness).astype("u2"), PresentationIntentType="FOR PROCESSING", **tags
    )
    image = show(path)
    expected = thickness / np.percentile(thickness, 99.9)
    np.testing.assert_allclose(image.pixels, np.clip(expected, 0, 1), atol=0.01)
    assert "for_processing" in image.fallbacks
    assert ("intensity_sign_assumed" in image.fallbacks) == ("PixelIntensityRelationshipSign" not in tags)


def interpret(recipe: PixelRecipe, stored: np.ndarray) -> np.ndarray:
    """A second reading of the recipe: from its JSON alone, on the pixels themselves instead of on a table."""
    values = stored.astype(float)
    for step in json.loads(recipe.to_json()):
        name, p = step["name"], step["parameters"]
        if name == "modality_rescale":
            values = values * p["slope"] + p["intercept"]
        elif name == "voi_window":
            values = np.vectorize(lambda v, p=p: by_standard(p["function"], v, p["center"], p["width"]))(values)
        elif name in ("voi_full_range", "voi_percentile", "processing_range"):
            values = np.clip((values - p["low"]) / (p["high"] - p["low"]), 0, 1)
        elif name == "logarithm":
            values = np.log(np.maximum(values, p["smallest"]))
        elif name == "polarity":
            values = (-values if "intensity_sign" in p else 1 - values) if p["inverted"] else values
        elif name == "padding":
            values = np.where((stored >= p["first"]) & (stored <= p["last"]), 0, values)
        else:
            assert name == "decode"
    return values


@pytest.mark.parametrize("method", ["file", "full_range", "percentile"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("intent", ["FOR PRESENTATION", "FOR PROCESSING"])
def test_the_recipe_alone_reproduces_the_pixels(tmp_path: Path, method: str, photometric: str, intent: str) -> None:
    pixels = breast(50, 40) + np.uint16(30)
    path = write_dicom(
        tmp_path / "a.dcm",
        pixels,
        PhotometricInterpretation=photometric,
        PresentationIntentType=intent,
        WindowCenter=1500,
        WindowWidth=2500,
        VOILUTFunction="SIGMOID",
        RescaleSlope=1.5,
        RescaleIntercept=-10,
        PixelPaddingValue=30,
    )
    image = show(path, PixelConfig(voi=method))
    np.testing.assert_allclose(image.pixels, interpret(image.recipe, pixels), atol=1e-6)
    again = PixelRecipe(tuple((step["name"], step["parameters"]) for step in json.loads(image.recipe.to_json())))
    assert again == image.recipe
    assert again.digest() == image.recipe.digest() != PixelRecipe().digest()


REFUSED = {
    "tomosynthesis class": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.3"}, "tomosynthesis"),
    "tomosynthesis type": ({"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"]}, "tomosynthesis"),
    "colour": (
        {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0},
        "'RGB' and 3 samples",
    ),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
    "specimen": ({"ViewPosition": None, "ViewCodeSequence": [item(CodeValue="G-8310")]}, "specimen"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_2d_mammogram_is_refused_in_words(tmp_path: Path, case: str) -> None:
    tags, word = REFUSED[case]
    with pytest.raises(UnreadableDicom, match=rf"a\.dcm.*{word}"):
        read_image(write_dicom(tmp_path / "a.dcm", breast(), **tags))


def modified(code: str, meaning: str) -> dict:
    modifier = item(CodeValue=code, CodeMeaning=meaning)
    return {"ViewCodeSequence": [item(CodeValue="R-10242", ViewModifierCodeSequence=pydicom.Sequence([modifier]))]}


FLAGGED = {
    "C-View": ({"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"]}, "synthetic_2d"),
    "C-View in a tomosynthesis class": (
        {"ImageType": ["DERIVED", "PRIMARY", "TOMO", "GENERATED_2D"], "SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.3"},
        "synthetic_2d",
    ),
    "named synthetic": ({"SeriesDescription": "L CC C-View"}, "synthetic_2d"),
    "stereotactic": ({"ImageType": ["ORIGINAL", "PRIMARY", "STEREO"]}, "stereotactic"),
    "magnified by code": (modified("399163009", "x"), "magnification_view"),
    "magnified by factor": ({"EstimatedRadiographicMagnificationFactor": 1.8}, "magnification_view"),
    "spot": (modified("", "Spot compression"), "spot_compression_view"),
    "implant displaced": (modified("R-102D5", ""), "implant_displaced"),
    "implant": ({"BreastImplantPresent": "YES"}, "implant_present"),
    "not MG": ({"Modality": "CR"}, "not_mg_modality"),
    "broken tag": ({"ImagerPixelSpacing": [0.1, 0.1, 0.1]}, "tags_broken"),
}


@pytest.mark.parametrize("case", FLAGGED)
def test_special_images_are_used_and_flagged(tmp_path: Path, case: str) -> None:
    tags, code = FLAGGED[case]
    assert code in show(write_dicom(tmp_path / "a.dcm", breast(), **tags)).fallbacks
    assert code not in show(write_dicom(tmp_path / "b.dcm", breast())).fallbacks


def test_the_callers_table_wins_and_a_conflict_is_flagged(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", breast())
    image = read_image(path, laterality="R", view="MLO", spacing_mm=0.07)
    assert (image.laterality, image.view, image.spacing.row_mm) == ("R", "MLO", 0.07)
    assert {"laterality_conflict", "view_conflict", "spacing_assumed_user"} <= set(image.fallbacks)
    agreeing = read_image(path, laterality="L", view="CC")
    assert not {"laterality_conflict", "view_conflict"} & set(agreeing.fallbacks)
    with pytest.raises(InputError, match="laterality = 'left'"):
        read_image(path, laterality="left")


def test_all_recorded_files_display_or_refuse(shared: Path) -> None:
    shown = 0
    for name in json.loads((shared / "data" / "manifest_decode.json").read_text())["files"]:
        try:
            show(shared / "data" / name)
            shown += 1
        except UnreadableDicom as error:
            assert name in str(error)  # noqa: PT017
    assert shown >= 35


def test_big_endian_words_show_as_little_endian_ones() -> None:
    own = Path(__file__).parents[1] / "data" / "dicom"
    np.testing.assert_array_equal(show(own / "MR_small_expb.dcm").pixels, show(own / "MR_small_RLE.dcm").pixels)


def test_every_code_has_its_words_and_is_used() -> None:
    source = "".join(
        path.read_text() for path in Path(mammo_aln.__file__).parent.rglob("*.py") if path.name != "fallbacks.py"
    )
    built = {
        "laterality_conflict",
        "view_conflict",
        "orientation_from_pixels",
        "orientation_from_laterality",
        "orientation_from_unknown",
    }
    for code in FALLBACK_CODES:
        assert f'"{code}"' in source or code in built, code
