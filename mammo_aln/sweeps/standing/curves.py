"""Learning curves of a sweep's cells."""

from __future__ import annotations

from collections.abc import Sequence

from mammo_aln.evaluation.report.multiples import Curves, multiples
from mammo_aln.sweeps.standing.table import Row


def curves_of(rows: Sequence[Row]) -> Curves:
    """Draw the curves of cells that have done two epochs, configurations in the order in which the rows name them."""
    groups: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        if len(row.val_aucs) > 1:
            groups.setdefault(row.cell.configuration, []).append(row)
    return multiples(
        [
            (
                ", ".join(f"{key}={value}" for key, value in members[0].cell.axes.items()) or "all",
                [row.val_aucs for row in members],
            )
            for members in groups.values()
        ]
    )
