"""A DICOMweb server: searches (QIDO-RS, by dicomweb-client) and instances as they are stored (WADO-RS, streamed)."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

import requests
from dicomweb_client.web import DICOMwebClient

from mammo_aln.dicom.web.multipart import AnswerCutOff, UnexpectedAnswer, dicom_file
from mammo_aln.dicom.web.session import PASSWORD, TOKEN, USER, checked_url, is_identified, open_session
from mammo_aln.errors import InputError
from mammo_aln.progress import say

PAGE = 200
BLOCK_BYTES = 1 << 20
CONNECT_S, SILENCE_S = 15.0, 120.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
ENCODED = re.compile(r"[^A-Za-z0-9._~-]")
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers that another try may mend."""
AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
Answer = TypeVar("Answer")


class ServerGone(InputError):
    """The server cannot be reached, or cuts off each answer; what is there is kept."""


class InstanceRefused(Exception):
    """The server does not hand out one instance; the message says why."""


@dataclass(frozen=True)
class Uids:
    """Study, series and instance."""

    study: str
    series: str
    instance: str


@dataclass(frozen=True)
class Item:
    """One answer of a search: text by keyword, empty where the server says nothing."""

    texts: Mapping[str, str]

    def __getitem__(self, keyword: str) -> str:
        return self.texts.get(keyword, "")

    def count(self, keyword: str) -> int | None:
        """A count that the server states, or None."""
        text = self[keyword]
        return int(text) if text.isdecimal() else None


TAGS = {
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "SOPInstanceUID": "00080018",
    "AccessionNumber": "00080050",
    "PatientID": "00100020",
    "Modality": "00080060",
    "NumberOfStudyRelatedSeries": "00201206",
    "NumberOfStudyRelatedInstances": "00201208",
    "NumberOfSeriesRelatedInstances": "00201209",
}


class Server:
    """A DICOMweb service.

    Args:
        url: its base, such as `https://HOST/dicom-web`.
        tries: how often a request is made before a passing fault counts.

    Raises:
        InputError: a faulty address or contradicting variables of authentication.
    """

    def __init__(self, url: str, tries: int) -> None:
        self.url = checked_url(url)
        self.tries = tries
        self.session = open_session(self.url)
        self._client = DICOMwebClient(self.url, session=self.session, timeout=(CONNECT_S, SILENCE_S))
        self._client.set_http_retry_params(retry=False)
        self._reached = False
        # Its warnings repeat what servers say, which may name patients.
        logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL + 1)

    def studies(self, keyword: str, value: str) -> list[Item]:
        """Search for studies whose attribute is a value, e.g. `AccessionNumber`.

        Some servers (Orthanc's DICOMweb 1.7) find no value that a URL has to encode, such as one with a blank: what
        they find with `?` for these characters is compared here.

        Raises:
            InputError: the server gives studies that were not asked for.
        """
        answers = list(self._studies(keyword, value))
        if others := [item for item in answers if item[keyword] != value]:
            raise InputError(
                f"{self.url}: {len(others)} of {len(answers)} studies that it gives for one {keyword} do not have it: "
                "this server does not search by it, or does not say what it found"
            )
        pattern = ENCODED.sub("?", value)
        if answers or pattern == value or not pattern.strip("?"):
            return answers
        return [item for item in self._studies(keyword, pattern) if item[keyword] == value]

    def _studies(self, keyword: str, value: str) -> Iterator[Item]:
        fields = ["NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"]
        filters = {keyword: value}
        search = self._client.search_for_studies
        return self._pages(
            "StudyInstanceUID",
            lambda offset: search(search_filters=filters, fields=fields, limit=PAGE, offset=offset),
        )

    def series(self, study: str) -> Iterator[Item]:
        """List the series of a study."""
        search, fields = self._client.search_for_series, ["NumberOfSeriesRelatedInstances"]
        return self._pages("SeriesInstanceUID", lambda offset: search(study, fields=fields, limit=PAGE, offset=offset))

    def instances(self, study: str, series: str) -> Iterator[Item]:
        """List the instances of a series."""
        search = self._client.search_for_instances
        return self._pages("SOPInstanceUID", lambda offset: search(study, series, limit=PAGE, offset=offset))

    def receive(self, uids: Uids, file: BinaryIO) -> None:
        """Write one instance as the server stores it into an empty file.

        Raises:
            InstanceRefused: the server does not hand it out.
            ServerGone: it cannot be reached, or its answer is cut off in each try.
            InputError: it asks for a log-in.
        """
        url = f"{self.url}/studies/{uids.study}/series/{uids.series}/instances/{uids.instance}"

        def attempt() -> None:
            file.seek(0)
            file.truncate()
            with self.session.get(
                url, headers={"Accept": AS_STORED}, stream=True, timeout=(CONNECT_S, SILENCE_S)
            ) as answer:
                answer.raise_for_status()
                blocks = answer.iter_content(BLOCK_BYTES)
                for block in dicom_file(answer.headers.get("Content-Type", ""), blocks):
                    file.write(block)

        try:
            self._persistently(attempt)
        except UnexpectedAnswer as error:
            raise InstanceRefused(str(error)) from error
        except requests.HTTPError as error:
            code = _code(error)
            if code == 401:
                raise InputError(self._in_words(error)) from error
            raise InstanceRefused(INSTANCE_WORDS.get(code, f"the server answers {code}")) from error

    def _pages(self, key: str, search: Callable[[int], list[Any]]) -> Iterator[Item]:
        """All answers of a search; the next page is asked for until one brings nothing new."""
        known: set[str] = set()
        offset = 0
        while True:
            try:
                answers = self._persistently(lambda: search(offset))  # noqa: B023 - called at once
            except requests.HTTPError as error:
                raise InputError(self._in_words(error)) from error
            except ValueError as error:
                raise InputError(
                    f"{self.url}: no DICOMweb server answers here: something else than DICOM JSON came (a web or "
                    "log-in page?). Orthanc's address is http://HOST:8042/dicom-web"
                ) from error
            items = [self._item(answer) for answer in answers]
            if not all(item[key] for item in items):
                raise InputError(f"{self.url}: no DICOMweb server answers here: its answer lacks {key}")
            new = [item for item in items if item[key] not in known]
            if not new:
                return
            known.update(item[key] for item in new)
            yield from new
            offset += len(items)

    def _item(self, answer: object) -> Item:
        if not isinstance(answer, dict):
            raise InputError(f"{self.url}: no DICOMweb server answers here: its answer is no DICOM JSON")
        texts = {}
        for keyword, tag in TAGS.items():
            element = answer.get(tag)
            values = element.get("Value") if isinstance(element, dict) else None
            if isinstance(values, list) and values and isinstance(values[0], str | int | float):
                texts[keyword] = str(values[0]).strip(" \0")
        return Item(texts)

    def _persistently(self, attempt: Callable[[], Answer]) -> Answer:
        """Make a request again after a passing fault, up to `tries` times in all, with growing pauses.

        Raises:
            ServerGone: the server cannot be reached.
            InputError: its certificate is not trusted, or its address leads nowhere.
            requests.HTTPError: it refuses.
        """
        for number in range(1, self.tries + 1):
            try:
                answer = attempt()
                self._reached = True
                return answer
            except requests.HTTPError as error:
                fault, pause_s = f"it answers {_code(error)}", _asked_pause_s(error)
                if _code(error) not in PASSING or number == self.tries:
                    raise
            except (
                requests.ConnectionError,
                requests.Timeout,
                requests.exceptions.ChunkedEncodingError,
                requests.exceptions.ContentDecodingError,
                AnswerCutOff,
            ) as error:
                fault, pause_s = _cause(error), None
                if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
                    raise InputError(
                        f"{self.url}: its certificate is not trusted ({fault}). With a certificate of the house's own "
                        "authority, REQUESTS_CA_BUNDLE=FILE.pem names that authority"
                    ) from error
                if number == self.tries or (_is_nowhere(error) and not self._reached):
                    tried = f" in {number} tries" if number > 1 else ""
                    raise ServerGone(
                        f"{self.url}: the server cannot be reached{tried} ({fault}); is the address right, and the "
                        "server up? The same command goes on from what is there"
                    ) from error
            except requests.exceptions.JSONDecodeError:
                raise
            except requests.RequestException as error:
                raise InputError(f"{self.url}: {_cause(error)}") from error
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (number - 1) if pause_s is None else pause_s)
            say(f"the server is not at its best ({fault}): try {number + 1} of {self.tries} in {pause_s:g} s")
            time.sleep(pause_s)
        raise AssertionError("unreachable: the last try returns or raises")

    def _in_words(self, error: requests.HTTPError) -> str:
        code = _code(error)
        if code == 401 and is_identified(self.session, self.url):
            return f"{self.url}: the log-in is refused (401): user, password or token are wrong, or have expired"
        host = urlsplit(self.url).hostname
        words = {
            401: f"a log-in is needed (401): set {USER} and {PASSWORD}, {TOKEN}, or a line for {host} in ~/.netrc",
            403: "this log-in may not search here (403): ask for the right to",
            404: "there is no DICOMweb service (404): its address often ends in /dicom-web, /dicomweb or /rs",
        }
        return f"{self.url}: {words.get(code, f'the server answers {code}')}"


INSTANCE_WORDS = {
    403: "this log-in may not have it (403)",
    404: "the server lists it and does not hold it (404)",
    406: "the server can give it in no acceptable transfer syntax (406)",
    410: "it was deleted on the server (410)",
}


def _causes(error: BaseException) -> list[BaseException]:
    """An error and those behind it, the deepest one last."""
    causes = [error]
    while (deeper := causes[-1].__cause__ or causes[-1].__context__ or getattr(causes[-1], "reason", None)) is not None:
        if not isinstance(deeper, BaseException) or deeper in causes:
            break
        causes.append(deeper)
    return causes


def _is_nowhere(error: BaseException) -> bool:
    """Test that nobody listens at an address, or that it has no such name: no pause mends that."""
    return any(isinstance(cause, ConnectionRefusedError | socket.gaierror) for cause in _causes(error))


def _code(error: requests.HTTPError) -> int:
    return 0 if error.response is None else error.response.status_code


def _asked_pause_s(error: requests.HTTPError) -> float | None:
    text = "" if error.response is None else error.response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None


def _cause(error: Exception) -> str:
    """Name the cause of an error of the network, without addresses: these may hold what was searched for."""
    causes = _causes(error)
    system = next((cause for cause in reversed(causes) if isinstance(cause, OSError) and cause.strerror), None)
    if system is not None:
        return str(system.strerror)
    if isinstance(error, requests.Timeout):
        return f"no answer within {SILENCE_S:g} s"
    return "the answer was cut off" if isinstance(error, AnswerCutOff) else type(causes[-1]).__name__
