"""Whom a DICOMweb server is told that asks: a token, a user with a password, or a line of netrc; never on the command
line, never in a message."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from requests import PreparedRequest, Request, Session
from requests.auth import HTTPBasicAuth
from requests.utils import get_netrc_auth

from mammo_aln.errors import InputError
from mammo_aln.progress import say

USER, PASSWORD, TOKEN = "MAMMO_ALN_PACS_USER", "MAMMO_ALN_PACS_PASSWORD", "MAMMO_ALN_PACS_TOKEN"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def checked_url(url: str) -> str:
    """The base of a DICOMweb service without a slash at its end.

    Raises:
        InputError: not http or https, or with a user, a password, a query or a fragment in it.
    """
    shown = re.split("[?#]", url.rpartition("@")[2])[0]  # what stands before an @, or behind a ?, may be secret
    try:
        pieces = urlsplit(url.strip())
        named = bool(pieces.hostname) and (pieces.port or 1) > 0
    except ValueError:
        named = False
    if not named or pieces.scheme not in ("http", "https"):
        raise InputError(f"{shown}: expected the address of a DICOMweb service, such as https://HOST/dicom-web")
    if pieces.username is not None or pieces.password is not None:
        host = pieces.hostname
        raise InputError(
            f"the address of {host} holds a user or a password, which others can read in the list of processes and in "
            f"the shell's history: set {USER} and {PASSWORD}, {TOKEN}, or a line for {host} in ~/.netrc"
        )
    if pieces.query or pieces.fragment:
        raise InputError(f"{shown}: expected the address of a DICOMweb service alone, without ? and #")
    return url.strip().rstrip("/")


def open_session(url: str) -> Session:
    """A session with what the environment says of authentication; TLS certificates are verified.

    Raises:
        InputError: the variables contradict each other, or one is missing or empty.
    """
    session = _Session()
    user, password, token = (os.environ.get(name) for name in (USER, PASSWORD, TOKEN))
    if token is not None and (user is not None or password is not None):
        raise InputError(f"{TOKEN} is set beside {USER} or {PASSWORD}: unset what is not meant")
    if (user is None) != (password is None):
        lacking = USER if user is None else PASSWORD
        raise InputError(f"{lacking} is not set, its companion is: set both")
    if token is not None:
        if not token.strip() or not token.strip().isascii() or len(token.split()) != 1:
            raise InputError(f"{TOKEN} is empty or holds blanks: expected the token alone, without the word Bearer")
        session.auth = _Bearer(token.strip())
    elif user is not None and password is not None:
        session.auth = HTTPBasicAuth(user.encode("utf-8"), password.encode("utf-8"))
    pieces = urlsplit(url)
    identified = session.auth is not None or get_netrc_auth(url) is not None
    if identified and pieces.scheme == "http" and pieces.hostname not in LOOPBACK:
        say(f"note: http to {pieces.hostname} is not encrypted: the log-in and the images can be read on the way")
    return session


def is_identified(session: Session, url: str) -> bool:
    """Test that requests carry a log-in."""
    return session.auth is not None or get_netrc_auth(url) is not None


class _Session(Session):
    """Leaves the pattern `?` as it is, as URLs allow: servers that decode no query (Orthanc's DICOMweb 1.7) know it."""

    def prepare_request(self, request: Request) -> PreparedRequest:
        request.url = str(request.url).replace("%3F", "?")
        return super().prepare_request(request)


class _Bearer:
    """Puts a token on each request to the host that it was given for."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request
