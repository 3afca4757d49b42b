"""The way from image to crops, for a reader: recipe cards, and what was missing, odd or guessed.

Images that took the same steps share a card. Every code by which an image or a crop says that something was missing,
odd or guessed has its words here, and is counted per centre in the fallback ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from mammo_aln.dicom.provenance import PixelRecipe

if TYPE_CHECKING:
    from mammo_aln.crops.build import CropSet

DIGESTS = ("sha256",)
"""Parameters of a step that stand for a table of values."""

FALLBACK_CODES: dict[str, str] = {
    "unreadable": "the file cannot be read as a mammogram",
    # words of the stored matrix
    "high_bit_odd": "HighBit is not BitsStored - 1; the words themselves decided where the values lie",
    "bits_stored_exceeded": "values need more bits than BitsStored says, no overlay explains it; the values were kept",
    "tags_broken": "at least one tag of the header cannot be understood and was taken as absent",
    # stored values to display values
    "modality_broken": "the modality LUT or rescale slope is unusable; stored values were taken as they are",
    "no_voi": "the file has neither VOI LUT nor window; the full range of its values was used",
    "voi_broken": "a VOI LUT or window is unusable (width, function, length, or all of the image in one shade); the"
    " next sound one, else the full range, was used",
    "voi_lut_depth": "the VOI LUT's entries exceed the bits its descriptor states; its largest entry is white",
    "percentile_flat": "the breast's two percentiles coincide; the full range of values was used",
    "constant_image": "all pixels have one value",
    "padding_ignored": "the padding values cover (almost) the whole image and were taken as image",
    "polarity_unlikely": "air is bright, tissue dark: pixels and PhotometricInterpretation disagree; negatives",
    "presentation_lut_conflict": "PresentationLUTShape contradicts PhotometricInterpretation; the latter was believed",
    "for_processing": "a For Processing image: logarithm and inversion made here, not the vendor's processing",
    "intensity_sign_assumed": "a For Processing image without PixelIntensityRelationshipSign; photometry decided",
    # what kind of image it is
    "not_mg_modality": "Modality is not MG",
    "synthetic_2d": "a synthetic 2D image made from tomosynthesis",
    "stereotactic": "a stereotactic image",
    "contrast_low_energy": "the low-energy exposure of contrast mammography",
    "magnification_view": "a magnification view, by its modifier or a magnification factor of 1.3 or more",
    "spot_compression_view": "a spot compression view",
    "implant_displaced": "an implant-displaced view",
    "implant_present": "a breast implant is in the image",
    # millimetres
    "no_spacing": "no millimetres per pixel known; crops in millimetres are refused for this image",
    "spacing_assumed_user": "the user's spacing_mm was used",
    "spacing_imager_only": "only the detector's spacing is known; the breast's magnification was not corrected",
    "spacing_pixel_only": "only an uncalibrated PixelSpacing is known",
    "spacing_out_of_range": "a spacing outside 0.005 to 1 mm was passed over",
    "magnification_out_of_range": "a magnification, by its factor or the two distances, outside 1 to 4 was passed over",
    # side, view, orientation
    "laterality_conflict": "the table's laterality contradicts the file's; the table's was believed",
    "laterality_from_pixels": "no laterality in table or file; taken from the chest wall's side (hanging convention)",
    "no_laterality": "no laterality known",
    "view_conflict": "the table's view contradicts the file's; the table's was believed",
    "no_view": "no view known",
    "orientation_disagrees": "the pixels show the chest wall on another side than the tags; the pixels were believed",
    "laterality_unlikely": "PatientOrientation is not an upright breast's of this side; the laterality may be wrong",
    "orientation_from_pixels": "left and right were decided by the pixels",
    "orientation_from_laterality": "left and right were decided by the laterality's hanging convention",
    "orientation_from_unknown": "nothing tells where the chest wall is; the image was left as stored",
    "patient_orientation_unusable": "PatientOrientation names no side of the chest wall",
    "upright_assumed": "nothing tells up from down; the image was taken to stand upright",
}

CROP_CODES: dict[str, str] = {
    "uncropped": "no crop of the image could be made; exclusions.csv tells why",
    "padding_over_10_percent": "more than 10 % of the crop lies outside the image",
    "box_partly_outside_image": "the box reaches beyond the image",
    "box_off_breast": "less than half of the box lies on the breast",
    "box_beyond_breast": "the box reaches beyond the breast's outline; inside the box nothing was masked",
    "breast_outline_unsure": "the breast's outline was found with low confidence; nothing beside it was masked",
    "low_confidence": "the anatomy behind this crop was found with low confidence",
    "axilla_estimated": "the axilla was not drawn but estimated",
    "contralateral_estimated": "the mirror place was estimated",
}
"""Codes that crops add to those of their image."""


@dataclass(frozen=True)
class RecipeCard:
    """One exact recipe and the number of images that it made."""

    images: int
    recipe: PixelRecipe


def grouped_cards(cards: Sequence[RecipeCard]) -> list[dict[str, Any]]:
    """Group cards whose steps differ in numbers alone; the store keeps each image's exact values.

    Returns:
        plain JSON, most images first: `images`, and `steps` with `name` and `parameters`; a number that differs between
        images is `{"min": .., "max": ..}`, a digest that differs is `{"different": count}`.
    """
    groups: dict[str, list[RecipeCard]] = {}
    for card in cards:
        form = repr([(name, [_form(item) for item in sorted(values.items())]) for name, values in card.recipe.steps])
        groups.setdefault(form, []).append(card)
    merged = [
        {
            "images": sum(card.images for card in group),
            "steps": [
                {
                    "name": name,
                    "parameters": {
                        key: _spread(key, [card.recipe.steps[number][1][key] for card in group]) for key in parameters
                    },
                }
                for number, (name, parameters) in enumerate(group[0].recipe.steps)
            ],
        }
        for group in groups.values()
    ]
    return sorted(merged, key=lambda card: -card["images"])


def _form(item: tuple[str, Any]) -> tuple[str, Any]:
    key, value = item
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return key, "differs" if is_number or key in DIGESTS else value


def _spread(key: str, values: list[Any]) -> Any:
    if len(set(map(repr, values))) == 1:
        return values[0]
    return {"different": len(set(values))} if key in DIGESTS else {"min": min(values), "max": max(values)}


def in_words(code: str) -> str:
    """Word a fallback code as a radiologist reads it."""
    return CROP_CODES.get(code) or FALLBACK_CODES.get(code) or code.replace("_", " ")


def fallback_ledger(crop_set: CropSet) -> dict[str, dict[str, int]]:
    """Count per centre the images, those that gave no crop among them, and those that each fallback code touches.

    Returns:
        `{center: {"images": n, code: count, ...}}`, centres and codes sorted.
    """
    lost = crop_set.uncropped
    lost = lost.assign(fallbacks=[";".join(filter(None, ("uncropped", codes))) for codes in lost["fallbacks"]])
    table = pd.concat([crop_set.table[["image_id", "center", "fallbacks"]], lost], ignore_index=True)
    ledger: dict[str, dict[str, int]] = {}
    for center, rows in sorted(table.groupby("center"), key=lambda item: str(item[0])):
        codes = rows["fallbacks"].str.split(";").explode()
        touched = rows.loc[codes.index, "image_id"].groupby(codes.to_numpy()).nunique()
        counts = {str(code): int(count) for code, count in touched.sort_index().items() if code}
        ledger[str(center)] = {"images": int(rows["image_id"].nunique()), **counts}
    return ledger


def fallback_counts(crop_set: CropSet) -> dict[str, int]:
    """Count the cropped images that each fallback code touches, the most frequent first."""
    codes = crop_set.table["fallbacks"].str.split(";").explode()
    images = crop_set.table.loc[codes.index, "image_id"].groupby(codes.to_numpy()).nunique()
    return {str(code): int(count) for code, count in images.sort_values(ascending=False, kind="stable").items() if code}
