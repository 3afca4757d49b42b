"""Roles that a clinical table's headers suggest, in the words that hospitals use."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from mammo_aln.spreadsheet.characters import folded

Role = Literal["person", "center", "side", "nat_start", "outcome", "post_surgery", "post_nat", "baseline"]

_NAT = r"(nat|nac|nact|cna|can|neo ?ad\w*|chemo\w*|chimio\w*|therap\w*|behandlung\w*|treatment|traitement)"
_NODES = (
    r"(nodes?|nodal\w*|axill?\w*|aln|lymph ?nodes?|ln|sln|lk|lymphknoten\w*|ganglion\w*|linfonod\w*|\w*klier(en)?"
    r"|oksel\w*)"
)
_SURGERY = r"(surgery|surgical|resection|operation|op|chirurg\w*)"
_AFTER = rf"(after|post(?! ?menopaus)\w*|apres|dopo|despues|na(ch)? (op|{_NAT}))"
_TAKEN_OUT = r"(removed|examined|excised|harvested|retrieved|sampled|dissect\w*|entfernt\w*|untersucht\w*)"
_STARTS = r"(start|started|begin\w*|beginn|debut|inizio)"
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
    ("nat_start", r"^(?!.*\b(age|alter|size|before|prior|vor|avant)\b).*("
                  rf"\b({_STARTS}|first (day|dose|cycle))\b.*\b{_NAT}\b|\b{_NAT}\b.*\b{_STARTS}"
                  r"|\b(first|1st|erste|premiere) (chemo|chimio)\w*"
                  r"|\b(therapie|chemo|chemotherapie|behandlungs)(beginn|start)\b|^(date )?c1 ?[dj]1$)"),
    ("post_nat", rf"\b(mri|mrt|irm|us|ultrasound|sono\w*|imaging|yc[nt]|clinical|klinisch\w*|pet|ct)\b.*\b{_AFTER}\b"
                 rf"|\b{_AFTER}\b.*\b(mri|mrt|irm|us|ultrasound|sono\w*|imaging|clinical|klinisch\w*|pet|ct)\b|\byc[nt]\b"),
    ("post_surgery", rf"\b{_NODES} ({_TAKEN_OUT}|surgery|radio\w*)\b|\b{_TAKEN_OUT} (lymph )?{_NODES}\b"),
    ("outcome", r"^aln status( \d)*$|^y ?pn( (stage|status|stadium|stade))?$"
                rf"|\b{_NODES}\b.*\b({_AFTER}|residual\w*|residuel\w*|{_SURGERY}|yp\w*)\b"
                rf"|\b(residual\w*|residuel\w*|resttumor|post ?nat|yp)\b.*\b{_NODES}\b"
                rf"|\b{_AFTER}\b.*\b{_NODES}\b"
                rf"|\b{_NODES}\b.*\bp?cr\b|\bp?cr\b.*\b{_NODES}\b"),
    ("post_surgery", rf"^y?p[tn]( (stage|status|stadium|stade))?$|\b(\w*pcr|rcb\w*|yp\w*|{_SURGERY}|operat\w*"
                     r"|patholog\w*|anapath\w*|\w*regress\w*|trg|downstag\w*|mastectom\w*|lumpectom\w*|ptnm"
                     r"|(?<!neo )adju[vw]an\w*|residual\w*|residuel\w*|rest ?tumou?r\w*|post ?op\w*|recurrence|relapse"
                     r"|rezidiv\w*|recidiv\w*|rechute|rfs\w*|dfs\w*|os|survival\w*|surv\w*|survie|uberleb\w*|death"
                     r"|dead|died|alive|verstorben|tod\w*|dece\w*|sstat|vital ?status|follow ?up|rfs ind|miller payne"
                     r"|sataloff|chevallier|slnb|sln|slnd|alnd|sentinel\w*)\b"),
    ("post_nat", rf"\b({_AFTER}|pre ?surg\w*|interim|inter ?reg\w*|mid|during|cycle|response|reponse|ansprechen|recist"
                 r"|zyklus|1 3d ?ac)\b"),
)  # fmt: skip

_RESPONSE = r"( (patholog\w*|nodal|axillary))*( (response|remission|reponse))?"
_FREE = rf"((?!non?)\w*pcr|cr|compl?ete?{_RESPONSE}|neg|negati[vf]\w*|free|clear(ed|ance)?|\w*frei|indemne\w*|y?pn0)"
_NOT = r"(no|non|not|without|kein\w*|nicht|sans|pas)"
NO_METASTASIS = re.compile(rf"(?<!\S){_FREE}(?!\S)")
METASTASIS = re.compile(
    rf"(?<!\S)({_NOT} (\w+ )?{_FREE}|in ?complete{_RESPONSE}|pos|positi[vf]\w*|residu\w*|\w*metasta\w*|involve\w*"
    r"|befall\w*|envahi\w*)(?!\S)"
)
NEUTRAL = re.compile(
    rf"(?<!\S)({_NODES}|(at|{_AFTER}) (\w+ )?{_SURGERY}|{_AFTER}|{_NAT}|y?pn?|status|stages?|stadium|stade|stato"
    r"|patholog\w*|disease|tumou?r|cancer|achieved|the|of|in|at|(yes|y|ja|oui|j) (no?|nein|non)|\d+)(?!\S)"
)
"""Words of an outcome's header that don't say which way round it is; any other leaves that open."""
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
    text = _words(header) or folded(header)  # all of `ypN = 1` reads as a legend
    return next((role for role, pattern in ROLES if re.search(pattern, text)), "baseline")


def means_no_metastasis(header: str) -> bool | None:
    """Tell whether a yes in the outcome's column means that no metastasis is left; None where that is open.

    It does by saying both, and by a word that may turn it round (`absence of`, `response`, `not achieved`).
    """
    others, left = METASTASIS.subn(" ", _words(header))
    others, none_left = NO_METASTASIS.subn(" ", others)
    is_equation = "=" in _without_legend(header)  # `ypN0 = pCR` says nothing of what a yes is
    is_open = NEUTRAL.sub(" ", others).strip() or (none_left and (left or is_equation))
    return None if is_open else none_left > 0


def is_count(header: str) -> bool:
    """Tell whether the outcome's column counts nodes with metastasis."""
    words = _words(header)
    return all(pattern.search(words) for pattern in (COUNT, METASTASIS)) and not NO_METASTASIS.search(words)


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
