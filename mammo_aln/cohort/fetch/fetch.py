"""Fetch a list of studies from a PACS: what it lists is asked for instance by instance, and every shortfall is told."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mammo_aln.cohort.fetch.ledger import Ledger, opened
from mammo_aln.cohort.fetch.queries import Query, read_queries
from mammo_aln.dicom.web.received import read_received
from mammo_aln.dicom.web.server import InstanceRefused, Item, Server, ServerGone, Uids
from mammo_aln.errors import CheckFailed, InputError, UnreadableDicom
from mammo_aln.progress import Progress, say, track

SHOWN = 5
LOST = "the connection was lost in each try"
LOST_IN_A_ROW = 2
MODALITY = re.compile("[A-Z0-9_ ]{1,16}")
UID_CHARACTERS = re.compile(r"[0-9.]{1,64}")


@dataclass
class Listing:
    """Studies, series and instances that a PACS lists of those asked for, and where its answers fall short."""

    studies: dict[str, Item] = field(default_factory=dict)
    series: int = 0
    instances: dict[str, Uids] = field(default_factory=dict)
    shortfalls: list[str] = field(default_factory=list)


def fetch_studies(
    url: str,
    out: str | Path,
    *,
    studies: Sequence[str] = (),
    accessions: Sequence[str] = (),
    patients: Sequence[str] = (),
    listed: str | Path | None = None,
    modalities: Sequence[str] = ("MG",),
    tries: int = 5,
) -> Path:
    """Fetch the images of studies; the same call goes on where a killed one stopped.

    Args:
        url: base of a DICOMweb service.
        out: folder for the files, `PATIENT/STUDY/SERIES/INSTANCE.dcm` by names that identify nobody.
        studies: StudyInstanceUIDs.
        accessions: accession numbers.
        patients: PatientIDs.
        listed: a table with columns study, accession or patient.
        modalities: series of these modalities are fetched.
        tries: how often a request is made before a passing fault counts.

    Returns:
        `out`.

    Raises:
        InputError: nothing can be asked, the server is gone or refuses, or nothing of what was asked is there.
        CheckFailed: something that was asked, or that the server lists, did not come.
    """
    out = Path(out)
    queries = read_queries(studies, accessions, patients, None if listed is None else Path(listed))
    if faulty := [word for word in modalities if not MODALITY.fullmatch(word)] or not modalities:
        raise InputError(f"--modality = {faulty}: expected words of DICOM such as MG or MR")
    server = Server(url, tries)
    listing = _listing(server, queries, modalities)
    if not listing.instances:
        raise InputError(_nothing(server, listing, modalities))
    with opened(out) as ledger:
        _receive_all(server, ledger, listing)
    if listing.shortfalls:
        lines = [f"  {line}" for line in listing.shortfalls[:SHOWN]]
        more = len(listing.shortfalls) - SHOWN
        lines += [f"  ... and {more} more"] if more > 0 else []
        raise CheckFailed("\n".join([f"not everything came ({len(listing.shortfalls)}):", *lines]))
    return out


def _listing(server: Server, queries: Sequence[Query], modalities: Sequence[str]) -> Listing:
    """Search for studies, their series of these modalities, and those series' instances."""
    listing = Listing()
    for query in track(queries, total=len(queries), what="search", unit="query"):
        answers = server.studies(query.keyword, query.value)
        if not answers:
            listing.shortfalls.append(f"no study with {query.keyword} {query.value}")
        listing.studies |= {item["StudyInstanceUID"]: item for item in answers}
    for study, item in track(listing.studies.items(), total=len(listing.studies), what="studies", unit="study"):
        every = list(server.series(study))
        _compare(listing, f"study {study}", "series", len(every), item.count("NumberOfStudyRelatedSeries"))
        chosen = [series for series in every if series["Modality"] in modalities]
        if not chosen:
            kinds = ", ".join(sorted({series["Modality"] or "unknown" for series in every})) or "none"
            listing.shortfalls.append(f"study {study}: no series of {', '.join(modalities)} (it has: {kinds})")
        for series in chosen:
            _add_series(server, listing, study, series)
    return listing


def _add_series(server: Server, listing: Listing, study: str, item: Item) -> None:
    series = item["SeriesInstanceUID"]
    uids = [Uids(study, series, answer["SOPInstanceUID"]) for answer in server.instances(study, series)]
    for each in uids:
        if not all(UID_CHARACTERS.fullmatch(uid) for uid in (each.study, each.series, each.instance)):
            raise InputError(f"{server.url}: it lists a UID that is none ({each.instance[:70]!r})")
    _compare(listing, f"series {series}", "instances", len(uids), item.count("NumberOfSeriesRelatedInstances"))
    listing.series += 1
    listing.instances |= {each.instance: each for each in uids}


def _compare(listing: Listing, owner: str, what: str, listed: int, stated: int | None) -> None:
    if stated is not None and stated > listed:
        listing.shortfalls.append(f"{owner}: the server says {stated} {what} and lists {listed}")


def _receive_all(server: Server, ledger: Ledger, listing: Listing) -> None:
    whole = ledger.verified()
    waiting = [uids for uids in listing.instances.values() if uids.instance not in whole]
    there = len(listing.instances) - len(waiting)
    progress = Progress(total=len(listing.instances), what="fetch", unit="image", done=there)
    fetched, received_bytes = 0, 0
    refused: Counter[str] = Counter()
    lost_in_a_row = 0
    try:
        for number, uids in enumerate(waiting):
            unfinished = ledger.incoming / f"{number}.part"
            try:
                received_bytes += _receive(server, ledger, uids, unfinished)
                fetched += 1
                lost_in_a_row = 0
            except ServerGone as error:
                # One instance that a server stumbles over must not hold up the others for ever.
                lost_in_a_row += 1
                if lost_in_a_row == LOST_IN_A_ROW:
                    raise
                refused[LOST] += 1
                listing.shortfalls.append(f"instance {uids.instance}: {error}")
            except InstanceRefused as reason:
                refused[str(reason)] += 1
                listing.shortfalls.append(f"instance {uids.instance}: {reason}")
            finally:
                unfinished.unlink(missing_ok=True)
            progress.advance()
    finally:
        progress.end()
        say(
            f"{len(listing.studies)} studies, {listing.series} series, {len(listing.instances)} instances: {fetched} "
            f"fetched ({received_bytes / 1e6:.1f} MB), {there} already there, {refused.total()} refused"
        )
        for words, count in refused.most_common():
            say(f"  refused: {count} x {words}")


def _receive(server: Server, ledger: Ledger, uids: Uids, unfinished: Path) -> int:
    """Fetch one instance; only a file that is whole, and the one that was asked for, is kept. Returns its bytes."""
    with unfinished.open("xb") as file:
        server.receive(uids, file)
    try:
        identity = read_received(unfinished)
    except UnreadableDicom as error:
        raise InstanceRefused(str(error).replace(f"{unfinished}: ", "what came: ")) from error
    if (identity.instance, identity.study) != (uids.instance, uids.study):
        raise InstanceRefused("another instance came than the one that was asked for")
    return ledger.keep(unfinished, identity).bytes


def _nothing(server: Server, listing: Listing, modalities: Sequence[str]) -> str:
    lines = listing.shortfalls[:SHOWN] or [f"no instance of {', '.join(modalities)} is listed"]
    more = [f"... and {len(listing.shortfalls) - SHOWN} more"] if len(listing.shortfalls) > SHOWN else []
    return f"{server.url}: nothing to fetch\n" + "\n".join(f"  {line}" for line in [*lines, *more])
