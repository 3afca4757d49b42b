"""Lineage: the data sets and released weights that a result descends from, with their licences, terms and citations.

A cohort states its data sets in `cohort.yaml` (`dataset`); runs, weights, predictions and exported crops carry them on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mammo_aln.cohort.reading import Yaml
from mammo_aln.errors import BadCell
from mammo_aln.progress import say

TERMS = {
    "attribution": "name the source and cite it",
    "non-commercial": "no commercial use, of the data and of what is learnt from it",
    "share-alike": "what is made of it may be passed on under the same licence only",
    "no-derivatives": "what is made of it must not be passed on",
    "no-redistribution": "the data, crops of it too, must not be passed on",
    "no-published-weights": "weights and embeddings learnt from it must not be published without permission",
    "agreement": "only for those who signed the owner's agreement",
    "imagenet": "learnt from ImageNet, whose pictures are for non-commercial research",
}
"""Words of `dataset.terms` that programs understand, and what each says."""

IMPLIED = (
    (r"\bCC BY", "attribution"),
    (r"\bNC\b|NON ?COMMERCIAL", "non-commercial"),
    (r"\bSA\b|SHARE ?ALIKE", "share-alike"),
    (r"\bND\b|NO ?DERIV", "no-derivatives"),
)
"""Terms that the name of a licence says by itself, its hyphens read as blanks."""

Road = Literal["weights", "crops", "predictions"]
WARNED: dict[Road, tuple[str, ...]] = {
    "weights": ("no-published-weights", "no-derivatives", "share-alike", "non-commercial"),
    "crops": ("no-redistribution", "no-derivatives", "share-alike", "non-commercial"),
    "predictions": ("non-commercial",),
}
"""Terms that are told when these leave the program."""

NOT_STATED = "not stated"
KEYS = ("name", "licence", "terms", "citation")


@dataclass(frozen=True)
class Source:
    """One data set or one release of weights.

    Args:
        name: its name.
        licence: its licence; empty where nothing states one.
        terms: words of `TERMS`, or the owner's own words.
        citation: how its owner wants it to be cited.
    """

    name: str
    licence: str = ""
    terms: tuple[str, ...] = ()
    citation: str = ""

    @property
    def all_terms(self) -> tuple[str, ...]:
        """The terms, and those that the licence's name says by itself."""
        licence = re.sub(r"[\s_-]+", " ", self.licence.upper())
        implied = [term for pattern, term in IMPLIED if re.search(pattern, licence)]
        return tuple(dict.fromkeys([*self.terms, *implied]))

    def to_state(self) -> dict[str, str | list[str]]:
        """Plain values for YAML, JSON and checkpoints."""
        return {"name": self.name, "licence": self.licence, "terms": list(self.terms), "citation": self.citation}

    @classmethod
    def from_state(cls, state: Mapping[str, object]) -> Source:
        """Read what `to_state` wrote."""
        terms = state.get("terms") or ()
        listed = tuple(map(str, terms)) if isinstance(terms, list | tuple) else (str(terms),)
        return cls(str(state["name"]), str(state.get("licence", "")), listed, str(state.get("citation", "")))


UNSTATED_COHORT = Source("a cohort whose cohort.yaml states no dataset")
UNRECORDED_RUN = Source("a run or weights made before lineage was recorded")


def sources_of_yaml(value: Yaml | None, faults: list[BadCell]) -> tuple[Source, ...]:
    """Read the key `dataset` of `cohort.yaml`: one mapping of name, licence, terms, citation, or a list of such.

    Args:
        value: what stands there; None and an empty text are nothing.
        faults: gets one entry per fault.
    """
    if not value:
        return ()
    sources = []
    for number, item in enumerate(value if isinstance(value, list) else [value], start=1):
        key = f"dataset[{number}]" if isinstance(value, list) else "dataset"
        if not isinstance(item, dict):
            faults.append(BadCell("cohort.yaml", None, key, item, f"a mapping ({', '.join(KEYS)})"))
            continue
        before = len(faults)
        for name in item:
            if name not in KEYS:
                faults.append(BadCell("cohort.yaml", None, f"{key}.{name}", item[name], f"only {', '.join(KEYS)}"))
        if not item.get("name"):
            faults.append(BadCell("cohort.yaml", None, f"{key}.name", "", "the data set's name"))
        for name in ("name", "licence", "citation"):
            if not isinstance(item.get(name, ""), str):
                faults.append(BadCell("cohort.yaml", None, f"{key}.{name}", item[name], "a single value"))
        terms = item.get("terms") or []
        if not isinstance(terms, str) and not (isinstance(terms, list) and all(isinstance(t, str) for t in terms)):
            faults.append(BadCell("cohort.yaml", None, f"{key}.terms", terms, "a text or a list of words"))
        if len(faults) == before:
            sources.append(Source.from_state({**item, "terms": terms}))
    return tuple(sources)


def stated_or_not(sources: Sequence[Source]) -> tuple[Source, ...]:
    """The sources of a cohort, or the entry that says that it states none."""
    return tuple(sources) or (UNSTATED_COHORT,)


def joined(*groups: Iterable[Source]) -> tuple[Source, ...]:
    """All sources once, in the order in which they come."""
    return tuple(dict.fromkeys(source for group in groups for source in group))


def lineage_lines(sources: Sequence[Source]) -> list[str]:
    """Sources in words, a block of lines each."""
    lines = []
    for source in sources:
        lines.append(f"{source.name}: licence {source.licence or NOT_STATED}")
        lines += [f"  {term}: {TERMS[term]}" if term in TERMS else f"  {term}" for term in source.all_terms]
        lines += [f"  cite: {source.citation}"] if source.citation else []
    return lines


def road_warnings(sources: Sequence[Source], road: Road) -> list[str]:
    """Tell what licences and terms forbid when these are handed out, in one line per source and term.

    Terms in the owner's own words are repeated, as no program can tell what they forbid.
    """
    lines = []
    for source in sources:
        terms = source.all_terms
        stated = f"{source.name} ({source.licence})" if source.licence else source.name
        lines += [f"{stated}: {term}: {TERMS[term]}" for term in WARNED[road] if term in terms]
        if road != "predictions":
            lines += [f"{stated}: its own terms hold: {term}" for term in terms if term not in TERMS]
    return lines


def warn_of(sources: Sequence[Source], road: Road) -> None:
    """Say the warnings of a road on standard error."""
    for line in road_warnings(sources, road):
        say(f"licence: before you pass on these {road}: {line}")


def licence_text(sources: Sequence[Source], road: Road) -> str:
    """Content of the file LICENCE.txt that lies beside what is handed out."""
    lines = [f"These {road} descend from:", "", *lineage_lines(sources)]
    warnings = road_warnings(sources, road)
    return "\n".join([*lines, *(["", "Before you pass them on:", *warnings] if warnings else [])]) + "\n"
