"""YAML of bounded size and depth, each key once, without aliases: a few hundred bytes of these fill any memory.

Keys are their text, whatever they look like (`1`, `on`); a date is text too. YAML's own reader takes the last of two
values of one key without a word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mammo_aln.errors import shortened
from mammo_aln.files import regular_bytes

LARGEST_BYTES = 1 << 20
DEEPEST = 40
MOST_DIGITS = 40
TEXT, INTEGER = "tag:yaml.org,2002:str", "tag:yaml.org,2002:int"
PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}
NOT_READ = {f"tag:yaml.org,2002:{name}" for name in ("timestamp", "merge", "value")}


class UnreadableYaml(ValueError):
    """Text that is no YAML, or none that is read; `line` counts from 1, None for the text as a whole."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem if line is None else f"line {line}: {problem}")
        self.problem, self.line = problem, line


class _Bounded:
    """Composes nodes within bounds, and mappings of text to values: in front of one of PyYAML's readers."""

    _depth = 0

    def compose_node(self: Any, parent: Any, index: Any) -> yaml.Node:
        event = self.peek_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            why = "PyYAML writes aliases for what stands twice: dump with ignore_aliases, or copy it"
            raise UnreadableYaml(
                f"*{event.anchor}: aliases are not read; write out what &{event.anchor} is ({why})", line
            )
        if self._depth >= DEEPEST:
            raise UnreadableYaml(f"brackets or lists nest more than {DEEPEST} deep", line)
        self._depth += 1
        node: yaml.Node = super().compose_node(parent, index)  # type: ignore[misc]
        self._depth -= 1
        if node.tag not in PLAIN:
            raise UnreadableYaml(f"{node.tag.replace('tag:yaml.org,2002:', '!!')}: such tags are not read", line)
        if node.tag == INTEGER and len(node.value) > MOST_DIGITS:
            raise UnreadableYaml(f"{shortened(node.value, 40)}: a number of {len(node.value)} digits", line)
        return node

    def construct_object(self: Any, node: yaml.Node, deep: bool = False) -> object:
        try:
            return super().construct_object(node, deep)  # type: ignore[misc]
        except (UnreadableYaml, yaml.MarkedYAMLError):
            raise
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:  # as of `!!int word`
            kind = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise UnreadableYaml(f"{shortened(node.value, 40)} is no {kind}", node.start_mark.line + 1) from error

    def construct_mapping(self: Any, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):  # `!!map [1]`
            raise UnreadableYaml("expected words with values behind colons", node.start_mark.line + 1)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise UnreadableYaml("a list or mapping stands as a key; expected a word", line)
            if (first := lines.get(key.value)) is not None:
                name = shortened(key.value, plain=True)
                raise UnreadableYaml(f"{name} stands there twice (first in line {first}); write it once", line)
            lines[key.value], key.tag = line, TEXT
        content: dict[str, Any] = super().construct_mapping(node, deep)  # type: ignore[misc]
        return content


class _Values(_Bounded, yaml.SafeLoader):  # type: ignore[misc]  # PyYAML's stubs call keys hashable, not text
    """Reads plain values."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own name
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in NOT_READ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Texts(_Bounded, yaml.BaseLoader):  # type: ignore[misc]
    """Reads every scalar as the text that stands there (`no`, `007`, `1.0`)."""


def yaml_values(path: Path) -> object:
    """Read a file's plain values.

    Raises:
        UnreadableYaml: no YAML in UTF-8, too deep, or with aliases, tags or a key that stands there twice.
        InputError: no regular file, unreadable or too large.
    """
    return _loaded(regular_bytes(path, LARGEST_BYTES), _Values)


def yaml_texts(path: Path) -> object:
    """Read a file whose scalars all stay text; refusals as in `yaml_values`."""
    return _loaded(regular_bytes(path, LARGEST_BYTES), _Texts)


def refuse_unbounded(text: str) -> None:
    """Check a value of the command line that another reader of YAML is to read; refusals as in `yaml_values`."""
    _loaded(text.encode("utf-8", "surrogateescape"), _Values)


def _loaded(content: bytes, loader: type[Any]) -> object:
    try:
        return yaml.load(content.decode("utf-8-sig"), loader)  # plain values alone, see PLAIN
    except UnicodeDecodeError as error:
        raise UnreadableYaml(f"byte {error.object[error.start]:#04x} at {error.start} is no UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UnreadableYaml(error.problem or str(error), mark.line + 1 if mark else None) from error
    except yaml.reader.ReaderError as error:
        raise UnreadableYaml(f"character {error.character:#06x} at {error.position}: {error.reason}") from error
