"""Draw the rooms from the import contract: doors above, ground below, each with the first words of its docstring."""

from __future__ import annotations

import ast
import textwrap
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT, GAP = 960, 66, 12
CHARACTER_PX = 6.3


def rooms_picture() -> str:
    """Draw one layer below another, as an SVG."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [item for item in project["tool"]["importlinter"]["contracts"] if item.get("exhaustive")]
    layers = [[name.strip() for name in layer.split("|")] for layer in contract["layers"] if layer != "__main__"]
    bottom = len(layers) * (HEIGHT + GAP) + GAP + 22
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom}" font-family="system-ui, sans-serif">',
        "<title>The rooms of mammo_aln in layers; a room imports only from layers below its own</title>",
        f'<rect width="{WIDTH}" height="{bottom}" fill="#fff"/>',
    ]
    for level, names in enumerate(layers):
        drawn += layer_boxes(names, GAP + level * (HEIGHT + GAP), f"hsl(205, 55%, {95 - 2 * level}%)")
    words = "A room imports only from layers below its own; siblings do not know each other."
    drawn.append(f'<text x="{GAP}" y="{bottom - 10}" font-size="12" fill="#555">{words}</text>')
    return "\n".join([*drawn, "</svg>", ""])


def layer_boxes(names: list[str], y: int, shade: str) -> list[str]:
    """Draw the rooms of one layer side by side."""
    width = (WIDTH - GAP * (len(names) + 1)) / len(names)
    drawn = []
    for number, name in enumerate(names):
        x = GAP + number * (width + GAP)
        drawn += [
            f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{HEIGHT}" rx="8" fill="{shade}" stroke="#31607f"/>',
            f'<text x="{x + 12:.0f}" y="{y + 23}" font-size="16" font-weight="600" fill="#12314a">{name}</text>',
        ]
        lines = textwrap.wrap(purpose(name), int((width - 24) / CHARACTER_PX), max_lines=2, placeholder=" ...")
        drawn += [
            f'<text x="{x + 12:.0f}" y="{y + 40 + 16 * line}" font-size="12" fill="#28455c">{escape(text)}</text>'
            for line, text in enumerate(lines)
        ]
    return drawn


def purpose(name: str) -> str:
    """Give the first sentence of a room's docstring."""
    package = ROOT / "mammo_aln" / name / "__init__.py"
    source = package if package.is_file() else ROOT / "mammo_aln" / f"{name}.py"
    text = " ".join((ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").split())
    return text.split(". ")[0].replace("`", "").rstrip(".")
