"""Records of the store's journals: a file's content, an image, a crop, or a crop that was refused.

Each is one JSON object with `kind` and `key`. None holds a path, a patient or an image's identifier.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from mammo_aln.crops.anatomy import Anatomy
from mammo_aln.crops.window import Window
from mammo_aln.dicom.orientation import Box, Orientation
from mammo_aln.dicom.provenance import PixelRecipe
from mammo_aln.dicom.spacing import Spacing


@dataclass(frozen=True)
class ContentRecord:
    """SHA-256 of the file that stands where, and is as old as, the key says."""

    key: str
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """The journal's entry."""
        return {"kind": "content", **vars(self)}

    @classmethod
    def from_json(cls, entry: Any) -> ContentRecord:
        """Read a journal's entry back."""
        return cls(entry["key"], entry["sha256"])


@dataclass(frozen=True)
class ImageRecord:
    """One image as its pixels were read.

    Attributes:
        shape: (rows, columns) of the stored matrix.
        spacing: millimetres of breast per pixel, or None.
        orientation: what brings the image to chest wall left, cranial up.
        laterality: `L`, `R` or None.
        view: `CC`, `MLO`, another view position, or None.
        recipe: the steps from stored values to display values.
        fallbacks: codes of what was missing, odd or guessed.
        anatomy: estimated landmarks.
    """

    key: str
    shape: tuple[int, int]
    spacing: Spacing | None
    orientation: Orientation
    laterality: str | None
    view: str | None
    recipe: PixelRecipe
    fallbacks: tuple[str, ...]
    anatomy: Anatomy

    def side_mm(self, window: Window) -> float | None:
        """Width of a window in millimetres of breast, or None where the spacing is unknown."""
        return None if self.spacing is None else window.width * self.spacing.column_mm

    def to_json(self) -> dict[str, Any]:
        """The journal's entry."""
        return {
            "kind": "image",
            **vars(self),
            "spacing": None if self.spacing is None else asdict(self.spacing),
            "orientation": asdict(self.orientation),
            "recipe": {"digest": self.recipe.digest(), "steps": self.recipe.cards()},
            "anatomy": self.anatomy.to_json(),
        }

    @classmethod
    def from_json(cls, entry: Any) -> ImageRecord:
        """Read a journal's entry back."""
        rows, columns = entry["shape"]
        return cls(
            entry["key"],
            (rows, columns),
            None if entry["spacing"] is None else Spacing(**entry["spacing"]),
            Orientation(**entry["orientation"]),
            entry["laterality"],
            entry["view"],
            PixelRecipe(tuple((step["name"], step["parameters"]) for step in entry["recipe"]["steps"])),
            tuple(entry["fallbacks"]),
            Anatomy.from_json(entry["anatomy"]),
        )


@dataclass(frozen=True)
class CropRecord:
    """One crop; where its pixels lie and their checksum are added by the writer and kept by the reader.

    Attributes:
        image: key of its image.
        strategy: one of `settings.STRATEGIES`.
        window: what was cut, in pixels of the stored matrix.
        box: the region's box there, or None for a whole breast.
        confidence: of the anatomy behind the box; 1 where a human drew it.
        padding_share: share of the window that lies outside the image.
        flags: codes that put the crop among the worst cases.
        size_px: side of the crop.
    """

    key: str
    image: str
    strategy: str
    window: Window
    box: Box | None
    confidence: float
    padding_share: float
    flags: tuple[str, ...]
    size_px: int

    def to_json(self) -> dict[str, Any]:
        """The journal's entry."""
        return {"kind": "crop", **vars(self), "window": self.window.box}

    @classmethod
    def from_json(cls, entry: Any) -> CropRecord:
        """Read a journal's entry back."""
        return cls(
            entry["key"],
            entry["image"],
            entry["strategy"],
            Window(*entry["window"]),
            None if entry["box"] is None else tuple(entry["box"]),
            entry["confidence"],
            entry["padding_share"],
            tuple(entry["flags"]),
            entry["size_px"],
        )


@dataclass(frozen=True)
class RefusedCrop:
    """A crop that cannot be cut from its image, and why."""

    key: str
    image: str
    strategy: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The journal's entry."""
        return {"kind": "refused", **vars(self)}

    @classmethod
    def from_json(cls, entry: Any) -> RefusedCrop:
        """Read a journal's entry back."""
        return cls(entry["key"], entry["image"], entry["strategy"], entry["reason"])


Record: TypeAlias = ContentRecord | ImageRecord | CropRecord | RefusedCrop
