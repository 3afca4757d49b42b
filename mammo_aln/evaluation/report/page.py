"""Pages of all rooms: one template environment, and tables that can be saved from a page without any server."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pandas as pd
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
    environment.globals |= words
    return environment


PAGES = page_environment()


def csv_link(table: pd.DataFrame) -> str:
    """Encode a table as a data URI."""
    return "data:text/csv;base64," + base64.b64encode(table.to_csv(index=False).encode()).decode()
