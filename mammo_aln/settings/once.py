"""YAML whose keys stand there once: of two values of one key, YAML's own reader takes the last without a word."""

from __future__ import annotations

from typing import Any

import yaml


class Once(yaml.SafeLoader):
    """Reads plain values, and refuses a key that its mapping has already."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Read a mapping.

        Raises:
            yaml.YAMLError: names a key that stands there twice, with both lines.
        """
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line, name = key.start_mark.line + 1, (key.tag, key.value)
            if (first := lines.get(name)) is not None:
                raise yaml.YAMLError(
                    f"line {line}: {key.value} stands there twice (first in line {first}); write it once"
                )
            lines[name] = line
        return super().construct_mapping(node, deep)
