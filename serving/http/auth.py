"""Access control: API keys and their scopes, open routes, and allowed host names."""

import hashlib
import hmac
import ipaddress
import logging
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from flask import Flask, Request

from classifier.console.exits import WrongUsage
from serving.http.answers import this_request

logger = logging.getLogger(__name__)

Scope = Literal["predict", "admin"]

PROBES = frozenset(
    ("/livez", "/readyz", "/ping", "/health", "/v2/health/live", "/v2/health/ready")
)
"""Health checks of all protocols."""

OPEN = PROBES | {
    *("/", "/docs", "/openapi.json"),
    *("/static/<path:filename>", "/static/swagger-ui/<path:filename>"),
}
"""Routes without a key: health checks, and pages without data of the models."""

ADMIN = frozenset(
    (
        ("GET", "/shadow/images"),
        ("GET", "/shadow/images/<name>"),
        ("POST", "/versions/<asked>"),
        ("DELETE", "/versions/<asked>"),
        ("POST", "/versions/<path:asked>"),
        ("DELETE", "/versions/<path:asked>"),
        ("POST", "/v2/repository/models/<model>/load"),
        ("POST", "/v2/repository/models/<model>/unload"),
    )
)
"""Routes that change what is served, or show pictures of users. They need a key of
scope admin; without keys, a caller on this machine."""

PROXIES = (
    *("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"),
    *("X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP"),
)
"""Headers that proxies add: the client may then be on another machine."""


class Unauthorized(PermissionError):
    """The request has no key, or an unknown one."""


class Forbidden(PermissionError):
    """The key's scope does not allow the request, or the caller is not local."""


class BadKeys(WrongUsage, ValueError):
    """The file of keys cannot be read, or has an invalid line."""


class NoKeys(BadKeys):
    """The file of keys is missing or has no key."""


@dataclass(frozen=True)
class Key:
    name: str
    scope: Scope
    digest: bytes
    """SHA-256 of the key; the key itself is not stored."""


class Keys:
    """Keys from a file with lines `name predict|admin sha256-hex`; # starts a comment.

    The file is read again when it changes. A missing file or one without keys revokes
    all keys. An invalid file leaves the old keys in force.
    """

    def __init__(
        self, file: Path, *, observe: Callable[[bool], None] = lambda is_read: None
    ) -> None:
        """Calls `observe` after each reading with whether it succeeded. Raises
        BadKeys."""
        self._file = file
        self._observe = observe
        self._lock = threading.Lock()
        self._state = _state_of(file)
        self._keys = read_keys(file)
        observe(True)

    def check(self, authorization: str | None, scope: Scope) -> str:
        """The name of the key in `Authorization: Bearer …`.

        An admin key has both scopes. Raises Unauthorized or Forbidden.
        """
        self._read_again_if_changed()
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise Unauthorized(
                "this service asks for a key; send the header 'Authorization: Bearer "
                "KEY'"
            )
        digest = hashlib.sha256(token.strip().encode()).digest()
        # All keys are compared: the time must not reveal which one matches.
        found = [key for key in self._keys if hmac.compare_digest(key.digest, digest)]
        if not found:
            raise Unauthorized("the key is not known here; ask for another")
        if scope == "admin" and all(key.scope != "admin" for key in found):
            raise Forbidden(
                f"the key {found[0].name!r} may ask for predictions alone; changing "
                f"what is served, or reading images that are kept, takes a key of "
                f"scope 'admin'"
            )
        return found[0].name

    def _read_again_if_changed(self) -> None:
        state = _state_of(self._file)
        if state == self._state:
            return
        with self._lock:
            if state == self._state:
                return
            self._state, is_read = state, True
            try:
                self._keys = read_keys(self._file)
                logger.info("keys read again count=%d", len(self._keys))
            except NoKeys as error:
                self._keys = ()
                logger.error("all keys are refused reason=%s", error)
            except BadKeys as error:
                is_read = False
                logger.error("keys kept as they were reason=%s", error)
            self._observe(is_read)


def read_keys(file: Path) -> tuple[Key, ...]:
    """Raises NoKeys, or BadKeys with the line's number but not its text."""
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoKeys(
            f"the keys in {file} cannot be read: there is no such file"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadKeys(f"the keys in {file} cannot be read: {error}") from error
    keys = []
    for number, line in enumerate(lines, 1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        match fields:
            case [name, ("predict" | "admin") as scope, digest] if re.fullmatch(
                r"[0-9a-fA-F]{64}", digest
            ):
                keys.append(Key(name, scope, bytes.fromhex(digest)))
            case _:
                raise BadKeys(
                    f"line {number} of {file} is not 'name {'|'.join(get_args(Scope))} "
                    f"sha256-hex'; the last is what `printf %s KEY | sha256sum` prints"
                )
    if not keys:
        raise NoKeys(f"{file} has no key, so no request could be answered")
    return tuple(keys)


def _state_of(file: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def add_access(app: Flask, keys: Keys | None, *, own_names: frozenset[str]) -> None:
    """Requires a key on all but the open routes, if there are keys.

    Without keys, a service on a loopback address answers to loopback host names and to
    `own_names`. Raises Unauthorized or Forbidden.
    """

    @app.before_request
    def check() -> None:
        asked = this_request()
        rule = None if asked.url_rule is None else asked.url_rule.rule
        if rule is None or rule in PROBES:
            return
        is_admins = (asked.method, rule) in ADMIN
        if keys is None:
            _check_name(asked, own_names)
            if is_admins:
                _check_local(asked)
        elif rule not in OPEN:
            authorization = asked.environ.get("HTTP_AUTHORIZATION")
            keys.check(authorization, "admin" if is_admins else "predict")


def _check_name(request: Request, own_names: frozenset[str]) -> None:
    """Refuses unknown host names on a loopback address, against DNS rebinding.

    Another site can resolve its own name to this machine; the browser then lets its
    page read the answers, and sends that name as Host. The names of a service for
    other machines are not known here.
    """
    if not _is_loopback(request.environ.get("SERVER_NAME", "")):
        return
    name = _name_of(request.host)
    if not (_is_loopback(name) or name in own_names or "*" in own_names):
        raise Forbidden(
            f"the service listens on a loopback address without keys and is asked as "
            f"{request.host!r:.80}; ask it as localhost, or start it with "
            f"--allowed-hosts (SERVING_ALLOWED_HOSTS) if a proxy sends that name, or "
            f"with --keys FILE"
        )


def _check_local(request: Request) -> None:
    """Refuses changes from another machine, or from a page of another site."""
    server = request.environ.get("SERVER_NAME", "")
    if not (_is_loopback(server) and _is_loopback(request.remote_addr or "")):
        raise Forbidden(
            "without keys, what is served is changed, and images that are kept are "
            "read, from this machine alone, and on a service that listens on a "
            "loopback address; start it with --keys FILE"
        )
    found = [header for header in PROXIES if header in request.headers]
    if found:
        raise Forbidden(
            f"without keys, what is served is changed from this machine alone, and the "
            f"request came through a proxy, as its header {found[0]} says; start the "
            f"service with --keys FILE"
        )
    if not _is_loopback(_name_of(request.host)):
        raise Forbidden(
            f"without keys, what is served is changed under localhost or a loopback "
            f"address, not as {request.host!r:.80}"
        )
    # Browsers send both headers; Sec-Fetch-Site is "none" if the user typed the
    # address.
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "none")
    is_foreign = origin is not None and origin.partition("://")[2] != request.host
    if is_foreign or site not in ("same-origin", "none"):
        raise Forbidden(
            "a page of another site may not load or unload versions, or read images"
        )


@lru_cache(maxsize=256)
def _name_of(host: str) -> str:
    """The host name without port and brackets; empty if there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


@lru_cache(maxsize=256)
def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
