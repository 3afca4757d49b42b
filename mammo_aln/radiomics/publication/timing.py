"""Time of a signature's inputs in words: before NAT, after it, or both, as names of features and cohort.yaml say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

WORD = re.compile(r"(?:^|_)(pre|post|delta|relative)(?=_|$)", re.IGNORECASE)
TIMES = {"pre": {"before"}, "post": {"after"}, "delta": {"before", "after"}, "relative": {"before", "after"}}
OF_CLINICAL = {"baseline": "before", "post_nat": "after"}
UNSTATED = "at a time that the names of its features do not state"


def times(columns: Iterable[str], known_at: Mapping[str, str]) -> set[str]:
    """Times at which columns are known: `before` and `after` NAT, or `unstated`.

    Args:
        columns: clinical features, and image features with `pre`, `post`, `delta` or `relative` in their names.
        known_at: when each clinical feature is known, as cohort.yaml has it.
    """
    known: set[str] = set()
    for name in columns:
        if name in known_at:
            known.add(OF_CLINICAL[known_at[name]])
            continue
        words = [word.lower() for word in WORD.findall(name)]
        known |= set().union(*(TIMES[word] for word in words)) if words else {"unstated"}
    return known


def in_words(known: set[str]) -> str:
    """Write times as `before and after NAT`."""
    stated = " and ".join(time for time in ("before", "after") if time in known)
    if not stated:
        return UNSTATED if known else ""
    return f"{stated} NAT" + (f", and {UNSTATED}" if "unstated" in known else "")


def joined_times(words: Iterable[str]) -> str:
    """Join what `in_words` wrote of several signatures."""
    texts = list(words)
    known = {time for time in ("before", "after") if any(time in text for text in texts)}
    return in_words(known | ({"unstated"} if any(UNSTATED in text for text in texts) else set()))
