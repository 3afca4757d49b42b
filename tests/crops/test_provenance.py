"""Cards of many images become few, and no value is lost from sight."""

from pathlib import Path

from mammo_aln.crops.provenance import CROP_CODES, FALLBACK_CODES, RecipeCard, grouped_cards
from mammo_aln.dicom.provenance import PixelRecipe


def card(images: int, center: float, lut: str, function: str = "LINEAR") -> RecipeCard:
    window = {"center": center, "function": function, "sha256": lut, "inverted": False}
    return RecipeCard(images, PixelRecipe((("voi_window", window),)))


def test_numbers_become_ranges_and_digests_are_counted() -> None:
    cards = [card(2, 10.0, "a"), card(1, 12.0, "b"), card(5, 11.0, "a", "SIGMOID"), card(1, 11.5, "c")]
    first, second = grouped_cards(cards)
    assert first == {"images": 5, "steps": cards[2].recipe.cards()}
    assert second["images"] == 4
    assert second["steps"][0]["parameters"] == {
        "center": {"min": 10.0, "max": 12.0},
        "function": "LINEAR",
        "sha256": {"different": 3},
        "inverted": False,
    }


def test_the_documentation_names_every_fallback() -> None:
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "pixels.md").read_text(encoding="utf-8")
    missing = [code for code in {**FALLBACK_CODES, **CROP_CODES} if f"| `{code}` |" not in page]
    assert not missing
