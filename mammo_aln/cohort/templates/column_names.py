"""Roles that a clinical table's headers suggest, in the words that hospitals use."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from mammo_aln.spreadsheet.characters import folded

Role = Literal["person", "center", "side", "nat_start", "outcome", "post_surgery", "post_nat", "baseline"]

_NAT = r"(nat|nac|nact|cna|can|neo ?ad\w*|chemo\w*|chimio\w*|therap\w*|behandlung\w*|treatment|traitement)"
_NODES = r"(nodes?|nodal\w*|axill?\w*|aln|lymph ?nodes?|ln|sln|lk|lymphknoten\w*|ganglion\w*|linfonod\w*)"
_AFTER = rf"(after|post(?! ?menopaus)\w*|apres|dopo|despues|nach (op|{_NAT}))"
_CENTER = (
    r"(center|centre|hospital|site|institution|clinic|klinik|klinikum|krankenhaus|zentrum|studienzentrum|standort|hopital"
    r"|etablissement|centro|ospedale)"
)
_TUMOR = r"(tumou?r\w*|treated|breast|cancer|affected|index|lesion|betroffene\w*|erkrankte\w*|behandelte\w*|mamma)"
_SIDE = r"(side|laterality|lateralit(at|e)|seite|cote|lato|lado)"

ROLES: tuple[tuple[Role, str], ...] = (
    # the first that matches; the header is folded, without accents and legend, its signs are blanks
    ("center", rf"^((treating|study) )?{_CENTER}( (name|id|code|no|nr|number|hospitalier))?$"
               rf"|^{_CENTER}s?name$|^nom (du |de l )?(centre|hopital|etablissement)$"),
    ("person", r"\b(name|surname|forename|vorname|nachname|nom|prenom|birth|born|dob|geburt\w*|naissance|address"
               r"|adresse|post ?code|zip|plz|phone|telefon|telephone|e ?mail|ssn|insurance|nhs|nurse|physician|doctor"
               r"|comments?|remarks?|notes?|bemerkung\w*|remarques?|commentaires?"
               r"|mrn|pid|pat ?id|accession\w*|fall ?(nr|nummer)|lfd ?(nr)?)\b"
               r"|^((pat|patient|patienten|case|subject|record|serial|dossier) ?)?(id|nr|no|number|nummer|numero)$"),
    ("side", rf"^({_TUMOR} ?)?{_SIDE}( (of|du|de|des|de la|der|del) (the )?\w+)?$|^{_TUMOR} (breast|brust)$"
             r"|^sein (atteint|traite|malade)$"),
    ("nat_start", rf"\b(start|started|begin|beginning|first (day|dose|cycle)|beginn|debut|inizio)\b.*\b{_NAT}\b"
                  rf"|\b{_NAT}\b.*\b(start|begin)\w*|\b(first|1st|erste|premiere) (chemo|chimio)\w*"
                  r"|\b(therapie|chemo|chemotherapie|behandlungs)(beginn|start)\b|^(date )?c1 ?[dj]1$"),
    ("post_nat", rf"\b(mri|mrt|irm|us|ultrasound|sono\w*|imaging|yc[nt]|clinical|klinisch\w*|pet|ct)\b.*\b{_AFTER}\b"
                 rf"|\b{_AFTER}\b.*\b(mri|mrt|irm|us|ultrasound|sono\w*|imaging|clinical|klinisch\w*|pet|ct)\b|\byc[nt]\b"),
    ("outcome", r"^aln status$|^y ?pn( (stage|status|stadium|stade))?$"
                rf"|\b{_NODES}\b.*\b({_AFTER}|residual\w*|residuel\w*|surgery|yp\w*)\b"
                rf"|\b(residual\w*|residuel\w*|resttumor|post ?nat|yp)\b.*\b{_NODES}\b"
                rf"|\b{_AFTER}\b.*\b{_NODES}\b"
                rf"|\b{_NODES}\b.*\bp?cr\b|\bp?cr\b.*\b{_NODES}\b"),
    ("post_surgery", r"\b(pcr|rcb\w*|yp\w*|surgery|surgical|resection|operat\w*|op|chirurg\w*|patholog\w*|anapath\w*"
                     r"|residual\w*|residuel\w*|rest ?tumou?r\w*|post ?op\w*|recurrence|relapse|rezidiv\w*|recidiv\w*"
                     r"|rechute|rfs\w*|dfs\w*|os|survival\w*|surv\w*|survie|uberleb\w*|death|dead|died|alive|verstorben|tod\w*"
                     r"|dece\w*|sstat|vital ?status|follow ?up|rfs ind|miller payne|sataloff|chevallier|slnb|sln|slnd"
                     r"|alnd|sentinel\w*|(nodes?|lk|lymphknoten) (removed|examined|excised|entfernt|untersucht))\b"),
    ("post_nat", rf"\b({_AFTER}|pre ?surg\w*|interim|inter ?reg\w*|mid|during|cycle|response|reponse|ansprechen|recist"
                 r"|zyklus|1 3d ?ac)\b"),
)  # fmt: skip

_FREE = r"(p?cr|complete|complet|negative|negativ|negatif|free|frei|tumou?rfrei)"
_NOT = r"(no|non|not|without|kein\w*|nicht|sans|pas)"
NO_METASTASIS = re.compile(rf"(?<!\S){_FREE}(?!\S)")
METASTASIS = re.compile(
    rf"(?<!\S)({_NOT} (\w+ )?{_FREE}|positive?|positif|residual\w*|metasta\w*|involved|befallen\w*)(?!\S)"
)
LEGEND = re.compile(
    r"(?<![\w+-])([^\W_]{1,2})\s*[=:]\s*([^\W\d][^,;/|()\[\]=:]*?)\s*(?=[,;/|)\]]|\s[^\W_]{1,2}\s*[=:]|$)"
)
LEGEND_BACKWARDS = re.compile(r"([^\W\d][^,;/|()\[\]=:]*?)\s*=\s*(\d)(?!\w)")
COUNT = re.compile(
    r"\b(number|no of|anzahl|nombre|positive? nodes?|nodes? positive?|involved nodes?|befallene\w* (lk|lymph))"
)
UNITS = re.compile(r"[(\[]\s*([^)\]]{1,15}?)\s*[)\]]|(%)\s*$|[_ ](years|yrs|mm|cm|ml|kg|percent)$", re.IGNORECASE)
ORDERED = re.compile(r"\b(grade|grading|stage|c?t|c?n|bi ?rads|score|density|ecog)\b")


def role_of(header: str) -> Role:
    """Guess what a column is from its header; `baseline` where nothing else is recognised."""
    text = _words(header)
    return next((role for role, pattern in ROLES if re.search(pattern, text)), "baseline")


def means_no_metastasis(header: str) -> bool | None:
    """Tell whether a yes in the outcome's column means that no metastasis is left; None where the header says both."""
    words = _words(header)
    left = METASTASIS.search(words) is not None
    none_left = NO_METASTASIS.search(METASTASIS.sub(" ", words)) is not None
    is_equation = "=" in _without_legend(header)  # `ypN0 = pCR` says nothing of what a yes is
    return None if (left or is_equation) and none_left else none_left


def is_count(header: str) -> bool:
    """Tell whether the outcome's column counts nodes with metastasis."""
    return COUNT.search(_words(header)) is not None and not NO_METASTASIS.search(_words(header))


def legend_of(header: str) -> dict[str, str]:
    """Read what a header says of its codes: `Nodes after NAT (0 = negative, 1 = positive)`."""
    backwards = {code: word.strip() for word, code in LEGEND_BACKWARDS.findall(header)}
    return backwards | {folded(code): word.strip() for code, word in LEGEND.findall(header)}


def is_ordered(header: str) -> bool:
    """Tell whether a column's few numbers are likely to be levels in order."""
    return ORDERED.search(_words(header)) is not None


def unit_of(header: str) -> str | None:
    """Read the unit that a header states: `Age (years)`, `size_mm`, `Ki67 %`."""
    match = UNITS.search(header)
    return next((unit for unit in match.groups() if unit), None) if match else None


def feature_name(header: str, taken: set[str]) -> str:
    """Make a short name of a header, without its unit: `Age (years)` becomes `age`."""
    plain = unicodedata.normalize("NFKD", folded(UNITS.sub(" ", _without_legend(header)).replace("+", " pos ")))
    words = re.findall(r"[a-z0-9]+", plain.encode("ascii", "ignore").decode())
    name = base = "_".join(words) or "feature"
    number = 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    taken.add(name)
    return name


def _without_legend(header: str) -> str:
    return LEGEND_BACKWARDS.sub(" ", LEGEND.sub(" ", header))


def _words(header: str) -> str:
    plain = unicodedata.normalize("NFKD", folded(_without_legend(header)))
    letters = "".join(character for character in plain if not unicodedata.combining(character))
    return " ".join(re.sub(r"[^\w+]|_", " ", letters).split())
