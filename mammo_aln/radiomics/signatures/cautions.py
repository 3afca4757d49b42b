"""Say in words what makes odds ratios unsure: few events, shared information, aliased columns, separation."""

from __future__ import annotations

import pandas as pd

from mammo_aln.radiomics.signatures.labels import label, term_label

FEWEST_EVENTS, LARGEST_VIF = 10, 5


def odds_cautions(table: pd.DataFrame) -> list[str]:
    """Sentences on a table of `odds_ratio_report`; nothing where nothing is to be said.

    Args:
        table: odds ratios, univariable and multivariable.
    """
    sentences = []
    for model, rows in table.groupby("model", sort=False):
        words = [term_label(str(v), str(t)) for v, t in zip(rows["variable"], rows["term"], strict=True)]
        terms = pd.Series(words, index=rows.index)
        alone = model == "univariable"
        few = rows[(rows["events_per_variable"] < FEWEST_EVENTS) & ~rows["aliased"]]
        if len(few) and not alone:
            first = few.iloc[0]
            sentences.append(
                f"Odds ratios, {model} model: {first['events']} patients of the rarer outcome for"
                f" {(~rows['aliased']).sum()} coefficients, {first['events_per_variable']:.1f} events per variable"
                f" (below {FEWEST_EVENTS}): the odds ratios tend to be too extreme and their intervals unsure."
            )
        elif len(few):
            sentences.append(
                f"Odds ratios, {model} models: fewer than {FEWEST_EVENTS} events per variable for"
                f" {_listed(few['variable'])}: unsure."
            )
        shared = rows[rows["vif"] > LARGEST_VIF]
        if len(shared):
            listed = ", ".join(
                f"{name} {vif:.1f}" for name, vif in zip(terms[shared.index], shared["vif"], strict=True)
            )
            sentences.append(
                f"Odds ratios, {model} model: variance inflation above {LARGEST_VIF} ({listed}): these variables tell"
                " much the same, so that none of their odds ratios stands on its own."
            )
        if rows["aliased"].any():
            sentences.append(
                f"Odds ratios, {model} model{'s' if alone else ''}: no figure for {', '.join(terms[rows['aliased']])}:"
                " constant, or determined by the columns before it in these patients; left out of the model."
            )
        firth = rows[rows["penalised"].astype(bool)]
        if len(firth):
            which = f" by {_listed(firth['variable'])}" if alone else ""
            sentences.append(
                f"Odds ratios, {model} model{'s' if alone else ''}: the outcomes are separated{which}, so that maximum"
                " likelihood has no finite estimate: Firth's penalised estimates stand there, with penalised profile"
                " limits and penalised likelihood-ratio tests."
            )
    return sentences


def _listed(variables: pd.Series) -> str:
    return ", ".join(label(str(name)) for name in dict.fromkeys(variables))
