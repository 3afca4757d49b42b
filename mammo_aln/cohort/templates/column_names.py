"""Roles that a clinical table's headers suggest, in the words that hospitals use."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from mammo_aln.spreadsheet.characters import folded

Role = Literal["person", "center", "side", "nat_start", "outcome", "post_surgery", "post_nat", "baseline"]

ROLES: tuple[tuple[Role, str], ...] = (
    # the first that matches; the header is folded, its signs are blanks
    ("person", r"\b(name|surname|forename|vorname|nachname|birth|born|dob|geburt\w*|address|adresse|phone|e ?mail|ssn"
               r"|insurance|nhs|nurse|physician|doctor|comments?|remarks?|notes?|bemerkung\w*)\b"),
    ("center", r"^(center|centre|hospital|site|site id|institution|clinic|klinik|hopital|h\u00f4pital|centro|ospedale)$"
               r"|^(treating|study) (center|centre|hospital|site)$"),
    ("side", r"^((tumou?r |treated |breast |cancer )?(side|laterality)|seite|cote|c\u00f4t\u00e9|lato)$"),
    ("nat_start", r"\b(start|begin|beginning|first (day|dose|cycle)|beginn|d\u00e9but)\b.*\b(nat|nac|nact|neoadj\w*"
                  r"|chemo\w*|therapy|treatment|therapie)\b|\b(nat|nac|nact|neoadj\w*|chemo\w*|therapy|treatment)\b.*\b(start|begin)\w*"),
    ("outcome", r"^aln status$|^y ?pn( (stage|status))?$"
                r"|\b(nodes?|nodal|axilla\w*|aln|lymph nodes?|ln)\b.*\b(after|post|residual|surgery|yp\w*)\b"
                r"|\b(residual|post ?nat|yp)\b.*\b(nodes?|nodal|axilla\w*|aln)\b"
                r"|\b(nodal|axillary|aln|ln)\b.*\bp?cr\b|\bp?cr\b.*\b(nodal|axilla\w*|nodes?)\b"),
    ("post_surgery", r"\b(pcr|rcb\w*|yp\w*|surgery|surgical|resection|operat\w*|patholog\w*|residual|recurrence|relapse"
                     r"|rfs\w*|dfs\w*|os|survival\w*|surv\w*|death|dead|died|alive|sstat"
                     r"|vital status|follow ?up|rfs ind)\b"),
    ("post_nat", r"\b(after|post|pre ?surg\w*|interim|inter ?reg\w*|mid|during|cycle|response|1 3d ?ac)\b"),
)  # fmt: skip

COMPLETE_RESPONSE = re.compile(r"\b(p?cr|complete|negative|free)\b")
UNITS = re.compile(r"[(\[]\s*([^)\]]{1,15}?)\s*[)\]]|(%)\s*$|[_ ](years|yrs|mm|cm|ml|kg|percent)$", re.IGNORECASE)
ORDERED = re.compile(r"\b(grade|grading|stage|c?t|c?n|bi ?rads|score|density|ecog)\b")


def role_of(header: str) -> Role:
    """Guess what a column is from its header; `baseline` where nothing else is recognised."""
    text = _words(header)
    return next((role for role, pattern in ROLES if re.search(pattern, text)), "baseline")


def is_complete_response(header: str) -> bool:
    """Tell whether a yes in the outcome's column means that no metastasis is left."""
    return COMPLETE_RESPONSE.search(_words(header)) is not None


def is_ordered(header: str) -> bool:
    """Tell whether a column's few numbers are likely to be levels in order."""
    return ORDERED.search(_words(header)) is not None


def unit_of(header: str) -> str | None:
    """Read the unit that a header states: `Age (years)`, `size_mm`, `Ki67 %`."""
    match = UNITS.search(header)
    return next((unit for unit in match.groups() if unit), None) if match else None


def feature_name(header: str, taken: set[str]) -> str:
    """Make a short name of a header, without its unit: `Age (years)` becomes `age`."""
    plain = unicodedata.normalize("NFKD", UNITS.sub(" ", header).replace("+", " pos "))
    words = re.findall(r"[a-z0-9]+", folded(plain).encode("ascii", "ignore").decode())
    name = base = "_".join(words) or "feature"
    number = 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    taken.add(name)
    return name


def _words(header: str) -> str:
    return " ".join(re.sub(r"[^\w+]|_", " ", folded(header)).split())
