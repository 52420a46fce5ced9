"""Access: routes that are open, those that take a key, and names of the service."""

import ipaddress
from urllib.parse import urlsplit

from flask import Flask, request

from serving.keys import Forbidden, Keys

PROBES = frozenset(
    ("/livez", "/readyz", "/ping", "/health", "/v2/health/live", "/v2/health/ready")
)
"""For whoever watches the service, by any name."""

OPEN = PROBES | {"/", "/docs", "/openapi.json", "/static/<path:filename>"}
"""Probes, and pages that hold nothing of the models."""

CHANGES = frozenset(
    (
        ("POST", "/versions/<asked>"),
        ("DELETE", "/versions/<asked>"),
        ("POST", "/v2/repository/models/<model>/load"),
        ("POST", "/v2/repository/models/<model>/unload"),
    )
)


PROXIES = (
    *("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"),
    *("X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP"),
)
"""Headers that proxies add: who asks is then not on this machine, although the proxy
is."""


def add_access(app: Flask, keys: Keys | None, *, own_names: frozenset[str]) -> None:
    """All but the open routes take a key, if there are keys; Unauthorized, Forbidden.

    Without keys a loopback address answers under loopback names and `own_names`.
    """

    @app.before_request
    def check() -> None:
        rule = None if request.url_rule is None else request.url_rule.rule
        if rule is None or rule in PROBES:
            return
        is_change = (request.method, rule) in CHANGES
        if keys is None:
            _check_name(own_names)
            if is_change:
                _check_local()
        elif rule not in OPEN:
            authorization = request.headers.get("Authorization")
            keys.check(authorization, "admin" if is_change else "predict")


def _check_name(own_names: frozenset[str]) -> None:
    """A page of another site may have its name resolved to this machine (DNS
    rebinding): the browser then lets it read what the service answers, and sends its
    name as Host. A service for other machines has names that are not known here."""
    name = _name_of(request.host)
    if not _is_loopback(request.environ.get("SERVER_NAME", "")):
        return
    if not (_is_loopback(name) or name in own_names or "*" in own_names):
        raise Forbidden(
            f"the service listens on a loopback address without keys and is asked as "
            f"{request.host!r:.80}; ask it as localhost, or start it with "
            f"--allowed-hosts (SERVING_ALLOWED_HOSTS) if a proxy sends that name, or "
            f"with --keys FILE"
        )


def _check_local() -> None:
    """Without keys: from this machine, and from no page of another site."""
    server = request.environ.get("SERVER_NAME", "")
    if not (_is_loopback(server) and _is_loopback(request.remote_addr or "")):
        raise Forbidden(
            "without keys, what is served is changed from this machine alone, and on a "
            "service that listens on a loopback address; start it with --keys FILE"
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
    # Browsers send both along, whatever page they show; the second says "none" where
    # somebody has typed the address.
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "none")
    is_foreign = origin is not None and origin.partition("://")[2] != request.host
    if is_foreign or site not in ("same-origin", "none"):
        raise Forbidden("a page of another site may not change what is served")


def _name_of(host: str) -> str:
    """Without the port and the brackets; empty where there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
