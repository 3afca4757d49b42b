"""Recipe cards for a reader: images that took the same steps together, numbers that differ between them as a range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

DIGESTS = ("sha256",)


def grouped_cards(cards: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Group cards whose steps differ in numbers alone; the store keeps each image's exact values.

    Args:
        cards: each with `images` (count) and `steps`, a list of `name` and `parameters`.

    Returns:
        Cards of the same form, most images first; a number that differs between images is `{"min": .., "max": ..}`, a
        digest that differs is `{"different": count}`.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for card in cards:
        kind = repr([(step["name"], _words(step["parameters"])) for step in card["steps"]])
        groups.setdefault(kind, []).append(card)
    merged = [
        {
            "images": sum(card["images"] for card in group),
            "steps": [
                {
                    "name": step["name"],
                    "parameters": {
                        key: _together(key, [card["steps"][place]["parameters"][key] for card in group])
                        for key in step["parameters"]
                    },
                }
                for place, step in enumerate(group[0]["steps"])
            ],
        }
        for group in groups.values()
    ]
    return sorted(merged, key=lambda card: -card["images"])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _words(parameters: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        (key, "differs" if _is_number(value) or key in DIGESTS else value) for key, value in sorted(parameters.items())
    ]


def _together(key: str, values: list[Any]) -> Any:
    if len(set(map(repr, values))) == 1:
        return values[0]
    return {"different": len(set(values))} if key in DIGESTS else {"min": min(values), "max": max(values)}
