"""A sweep's cohort as it stands now, beside the one that its cells were planned on."""

from __future__ import annotations

from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.tables import read_cohort, with_split
from mammo_aln.errors import InputError
from mammo_aln.settings import reads_images
from mammo_aln.sweeps.plan import Plan


def changed_cohort(plan: Plan) -> str | None:
    """Say what is otherwise about a sweep's cohort than when its cells were planned; None where nothing is."""
    try:
        contents = [
            cohort_content(with_split(read_cohort(plan.cohort, need=("patients", "images")[: 1 + images])))
            for images in {reads_images(cell.settings.model.inputs) for cell in plan.cells}
        ]
    except InputError as error:
        return (
            f"the cohort of these cells cannot be read now: {error}; where its folder was moved, give `sweep run` the"
            " new one by --cohort: nothing is trained anew"
        )
    if not plan.cells or plan.content in contents:
        return None
    return (
        f"the tables of {plan.cohort} have changed since these cells were planned ({plan.created}): what is told of"
        f" them is of the former tables; `{plan.command}` plans all cells on the present"
        " ones and trains every one of them anew"
    )
