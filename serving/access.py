"""Which routes are open, which ask for a key, and which change what is served."""

import ipaddress
from urllib.parse import urlsplit

from flask import Flask, request

from serving.keys import Forbidden, Keys

OPEN = frozenset(
    (
        *("/", "/docs", "/openapi.json", "/static/<path:filename>"),
        *("/livez", "/readyz", "/metrics"),
        *("/ping", "/health", "/version", "/v2/health/live", "/v2/health/ready"),
    )
)
"""Probes, metrics, and pages that hold nothing of the models."""

CHANGES = frozenset(
    (
        ("POST", "/versions/<asked>"),
        ("DELETE", "/versions/<asked>"),
        ("POST", "/v2/repository/models/<model>/load"),
        ("POST", "/v2/repository/models/<model>/unload"),
    )
)


def add_access(app: Flask, keys: Keys | None) -> None:
    """Every other route takes a key, if there are keys; Unauthorized, Forbidden."""

    @app.before_request
    def check() -> None:
        if request.url_rule is None or request.url_rule.rule in OPEN:
            return
        is_change = (request.method, request.url_rule.rule) in CHANGES
        if keys is not None:
            authorization = request.headers.get("Authorization")
            keys.check(authorization, "admin" if is_change else "predict")
        elif is_change:
            _check_local()


def _check_local() -> None:
    """Without keys: from this machine, and from no page of another site."""
    server = request.environ.get("SERVER_NAME", "")
    if not (_is_loopback(server) and _is_loopback(request.remote_addr or "")):
        raise Forbidden(
            "without keys, what is served is changed from this machine alone, and on a "
            "service that listens on a loopback address; start it with --keys FILE"
        )
    # A page of another site may have its name resolved to this machine; the browser
    # then takes it for that page's own, and still sends the name.
    if not _is_loopback(_name_of(request.host)):
        raise Forbidden(
            f"without keys, what is served is changed under localhost or a loopback "
            f"address, not as {request.host!r:.80}"
        )
    # A browser sends it along, whatever page it shows.
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != request.host:
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
