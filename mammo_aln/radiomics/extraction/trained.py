"""Deep features from trained runs, never from a run that trained on the patient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.tables import Cohort, with_split
from mammo_aln.errors import InputError
from mammo_aln.files import read_own_table
from mammo_aln.inference.ensemble import Member, ensemble_of, read_member
from mammo_aln.inference.opened import check_needs, open_members
from mammo_aln.runs.scored import record_scored
from mammo_aln.runs.seal import NOT_A_TEST

WHO = ["patient_id", "center"]
SHOWN = 5


def run_features(runs: Sequence[Path], cohort: Cohort, store: Path | None = None) -> pd.DataFrame:
    """Features of each treated axilla that an input of the runs stands for, indexed by unit_id.

    One run gives `deep_run_logit` and `deep_run_0000`..., what its fusion reads (a token per input, side by side).
    Networks that trained apart have no axes in common, so that several runs give `deep_run_logit` alone: the mean over
    those that did not train on the patient. A patient is known again by patient_id and center together.

    Raises:
        InputError: no completed run, runs that are not folds of one dealing, or patients whom every run trained on.
    """
    members = [read_member(run) for run in runs]
    if len(members) > 1 and not ensemble_of(members).out_of_fold:
        raise InputError("radiomics.deep_runs: several runs must be folds of one dealing (data.folds, data.fold)")
    stated = with_split(cohort)
    identities = cohort.patients[WHO].astype(str).itertuples(index=False, name=None)
    people = set(identities)
    trained_on = {member.run_id: _trained(member) for member in members}
    seen = sorted(who[0] for who in people if all(who in trained for trained in trained_on.values()))
    if seen:
        names = ", ".join(member.run_id for member in members)
        raise InputError(
            f"radiomics.deep_runs: {len(seen)} patients of {cohort.name} trained every run given ({names}):"
            f" {', '.join(seen[:SHOWN])}{', ...' if len(seen) > SHOWN else ''}. Their features would know their labels;"
            " give the runs of all folds (data.folds=K, data.fold=0 to K-1), which leave each patient out once"
        )
    tables = []
    for member in members:
        trained = {patient for patient, _ in trained_on[member.run_id]}
        tables.append(_scored(member, stated, store, sorted({patient for patient, _ in people} - trained)))
    if len(members) == 1:
        return tables[0]
    return pd.concat([table[["deep_run_logit"]] for table in tables]).groupby("unit_id").mean()


def _trained(member: Member) -> set[tuple[str, str]]:
    rows = read_own_table(member.run / "predictions.csv", dtype=str)
    return set(rows.loc[rows["split"] == "train", WHO].itertuples(index=False, name=None))


def _scored(member: Member, cohort: Cohort, store: Path | None, patients: Sequence[str]) -> pd.DataFrame:
    """Logit and fused inputs of every treated axilla of some patients, by unit_id; none may have trained the run."""
    splits = sorted(cohort.patients["split"].dropna().unique())
    if not patients:
        return pd.DataFrame({"deep_run_logit": []}, index=pd.Index([], name="unit_id"), dtype=np.float64)
    (opened,) = open_members([member], cohort, splits, store, patients, chosen_by=False)
    module, data = opened.module, opened.data
    check_needs([opened], cohort, splits, allow_missing=True)
    opened.prepare()
    data.setup()
    network = module.eval().cpu().scoring_network
    rows = []
    for split in data.splits:
        units = data.patients(split)
        if units.empty:
            continue
        with torch.inference_mode():
            for batch in data.loader(split, alone=True):
                tokens, present = network.tokens(batch)
                fused = torch.where(present.unsqueeze(2), tokens, network.missing).flatten(1)
                values = torch.cat([network.fuse(tokens, present)[:, None], fused], dim=1).float().numpy()
                rows.append(pd.DataFrame(values, index=units["unit_id"].iloc[batch["index"].numpy()]))
    own = member.cohort == cohort_content(cohort)
    tests = {
        split: data.patients(split)["patient_id"].tolist() for split in splits if not (own and split in NOT_A_TEST)
    }
    tests = {split: names for split, names in tests.items() if names}
    record_scored(cohort, member.run_id, tests, by="radiomics extract", run=member.run)
    table = pd.concat(rows).astype(np.float64)
    table.columns = pd.Index(["deep_run_logit", *(f"deep_run_{number:04d}" for number in range(table.shape[1] - 1))])
    return table.rename_axis("unit_id")
