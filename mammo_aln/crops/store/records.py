"""Records of the store's journals: a file's content, an image, a crop, or a crop that was refused.

Each is one JSON object with `kind` and `key`. None holds a path, a patient or an image's identifier.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

from mammo_aln.crops.anatomy import Anatomy
from mammo_aln.crops.window import Window
from mammo_aln.dicom.orientation import Box, Orientation
from mammo_aln.dicom.provenance import PixelRecipe
from mammo_aln.dicom.spacing import Spacing

_WRITTEN: dict[str, Callable[[Any], Any]] = {
    "spacing": lambda spacing: None if spacing is None else asdict(spacing),
    "orientation": asdict,
    "recipe": lambda recipe: {"digest": recipe.digest(), "steps": recipe.cards()},
    "anatomy": Anatomy.to_json,
    "window": lambda window: window.box,
}
_READ: dict[str, Callable[[Any], Any]] = {
    "spacing": lambda entry: None if entry is None else Spacing(**entry),
    "orientation": lambda entry: Orientation(**entry),
    "recipe": lambda entry: PixelRecipe(tuple((step["name"], step["parameters"]) for step in entry["steps"])),
    "anatomy": Anatomy.from_json,
    "window": lambda edges: Window(*edges),
}
"""Fields that are neither plain values nor tuples of such."""


@dataclass(frozen=True)
class Record:
    """An entry of a journal."""

    kind: ClassVar[str]
    key: str

    def to_json(self) -> dict[str, object]:
        """The journal's entry."""
        values = {name: _WRITTEN[name](value) if name in _WRITTEN else value for name, value in vars(self).items()}
        return {"kind": self.kind, **values}

    @classmethod
    def from_json(cls, entry: Any) -> Self:
        """Read a journal's entry back."""
        values: Any = {each.name: _READ.get(each.name, _as_tuple)(entry[each.name]) for each in fields(cls)}
        return cls(**values)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class ContentRecord(Record):
    """SHA-256 of the file that stands where, and is as old as, the key says."""

    kind: ClassVar[str] = "content"
    sha256: str


@dataclass(frozen=True)
class SampledRecord(Record):
    """Content of the file whose inode, size and modification time the key says, and the digest of its samples."""

    kind: ClassVar[str] = "sampled"
    sha256: str
    samples: str


@dataclass(frozen=True)
class RefusedContent(Record):
    """A file's content that its decoder died of, by the decoders and under the bounds that the key stands for."""

    kind: ClassVar[str] = "refused_content"
    reason: str


@dataclass(frozen=True)
class ImageRecord(Record):
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

    kind: ClassVar[str] = "image"
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


@dataclass(frozen=True)
class CropRecord(Record):
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
        outside: `background` stands outside the breast, or `background_beside_box` (the region's box is as it is), or
            the image: `kept_unsure` (its outline is doubtful) or `kept` (by the setting).
    """

    kind: ClassVar[str] = "crop"
    image: str
    strategy: str
    window: Window
    box: Box | None
    confidence: float
    padding_share: float
    flags: tuple[str, ...]
    size_px: int
    outside: str = "kept"


@dataclass(frozen=True)
class RefusedCrop(Record):
    """A crop that cannot be cut from its image, and why."""

    kind: ClassVar[str] = "refused"
    image: str
    strategy: str
    reason: str
