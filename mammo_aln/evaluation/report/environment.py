"""One template environment for the pages of all rooms."""

from __future__ import annotations

from collections.abc import Callable

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def page_environment(*rooms: str, **words: Callable[..., str]) -> Environment:
    """Build the template environment of a page: the room's own templates first, then those of the report.

    Args:
        rooms: packages that hold a folder `templates`, such as `mammo_aln.explain`.
        words: functions that the templates may call, by name.
    """
    loaders = [PackageLoader(room) for room in (*rooms, "mammo_aln.evaluation.report")]
    environment = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(words)
    return environment
