"""Asks a service about versions and images, and keeps asking while that makes sense."""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from itertools import chain
from typing import Any, TypeVar
from urllib.parse import quote, urlparse

import requests

from classifier.console import NotNow, WrongUsage
from compare.collect.schema import (
    FINAL_CODES,
    Answer,
    NoAnswer,
    NotTheContract,
    ServedVersion,
    read_results,
    read_version,
)

RETRIED = frozenset({429, 502, 503, 504})
BODY_TOO_LARGE = (
    "the service, or a proxy before it, takes no request of this image's size"
)


class ServiceUnavailable(NotNow, RuntimeError):
    """Nothing answers there, or not as a service of versions does."""


class VersionFailed(ServiceUnavailable):
    """The service has the version, and can never load it."""


class UnknownServed(WrongUsage, LookupError):
    """The service has no such version."""


class KeyRefused(WrongUsage, RuntimeError):
    """The service wants a key, or another one."""


class Retry(Exception):
    """Worth asking again, after a pause."""

    def __init__(
        self,
        reason: str,
        *,
        pause_seconds: float | None = None,
        is_silence: bool = False,
        fallback: Any = None,
    ) -> None:
        super().__init__(reason)
        self.pause_seconds = pause_seconds
        self.is_silence = is_silence
        """Nobody answered at all, as against an answer that is of no use yet."""

        self.fallback = fallback
        """What to take when patience is over; None is nothing."""


class ImageRefused(Exception):
    """A request with an image that cannot be read, or with more than is taken."""

    def __init__(self, answer: NoAnswer) -> None:
        super().__init__(answer.message)
        self.answer = answer


def key_advice(url: str, status: int, key: str | None) -> str:
    if key is None:
        return (
            f"{url} wants a key (status {status}); name a file whose first line is "
            "yours with --key FILE"
        )
    return (
        f"{url} does not take the key of --key (status {status}); ask who runs it for "
        "one that may predict"
    )


def read_response(
    status: int, body: bytes, *, retry_after: str | None, asked: str, has_images: bool
) -> dict[str, Any]:
    """The JSON object of a success; of anything else what it means is raised.

    ImageRefused only of a request that `has_images`.
    """
    code, message = _refusal(body) if status in RETRIED else ("", "")
    if code == "version_failed":
        raise VersionFailed(message)
    if status in RETRIED:
        why = f", {code}: {message}" if code else ""
        raise Retry(f"status {status}{why}", pause_seconds=_seconds(retry_after))
    if has_images and status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # Often said by a proxy, whose page is no JSON.
        raise ImageRefused(NoAnswer("body_too_large", BODY_TOO_LARGE))
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Retry(f"{asked} gave status {status}, no JSON") from error
    if not isinstance(document, dict):
        raise Retry(f"{asked} gave JSON that is no object")
    if status == 200:
        return document
    code, message = _refusal(body)
    if has_images and code in FINAL_CODES:
        raise ImageRefused(NoAnswer(code, message))
    if code == "unknown_version":
        raise UnknownServed(message)
    raise ServiceUnavailable(f"{asked} was refused with status {status}: {message}")


def _refusal(body: bytes) -> tuple[str, str]:
    """Code and message of the contract's error; no code where it is another one."""
    try:
        refusal = json.loads(body)["error"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return "", "no error in its JSON"
    if not isinstance(refusal, dict):
        return "", str(refusal)
    return str(refusal.get("code")), str(refusal.get("message"))


def _seconds(retry_after: str | None) -> float | None:
    """The date form of the header is not used by services of this kind."""
    try:
        return max(0.05, float(retry_after or ""))
    except ValueError:
        return None


T = TypeVar("T")

logger = logging.getLogger(__name__)

FIRST_ANSWER_SECONDS = 5.0
"""A service that has not answered by then is not there: with the start of the program,
which takes 3 s, exit code 3 comes within 10 s."""

CONNECT_SECONDS, READ_SECONDS = 3.0, 60.0
SHORTEST_READ_SECONDS = 2.0
"""A busy service takes a moment also to one who has no patience."""

LONGEST_PAUSE_SECONDS = 5.0


class Service:
    """A service at a URL; safe to use from several threads."""

    def __init__(
        self, url: str, *, patience_seconds: float, key: str | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self.retries = 0
        self._patience_seconds = patience_seconds
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._last_success = time.monotonic()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ends all waiting in other threads; they raise ServiceUnavailable."""
        self._stopped.set()

    def close(self) -> None:
        """Ends the connections: gunicorn waits for open ones before it stops."""
        self.stop()
        for session in self._sessions:
            session.close()

    def list_versions(self) -> Mapping[str, Any]:
        """`GET /versions`; ServiceUnavailable where no service answers in time."""
        limit = min(FIRST_ANSWER_SECONDS, self._patience_seconds)
        listed = self._insist(
            # Also one that takes the connection and is silent is given up in time.
            lambda: self._send(
                "GET", "/versions", read_seconds=max(SHORTEST_READ_SECONDS, limit)
            ),
            silence_seconds=limit,
        )
        if not isinstance(listed.get("versions"), list) or "model" not in listed:
            raise ServiceUnavailable(
                f"{self.url}/versions does not list versions; it is another service"
            )
        return listed

    def version(self, asked: str) -> ServedVersion:
        """UnknownServed where the service has none such."""
        listed = self.list_versions()
        entry = self._insist(
            lambda: self._send("GET", f"/versions/{quote(asked, safe='')}")
        )
        try:
            return read_version(entry, listed)
        except NotTheContract as error:
            raise ServiceUnavailable(f"{self.url}/versions/{asked}: {error}") from error

    def ask(
        self, images: Sequence[tuple[str, bytes]], versions: Sequence[ServedVersion]
    ) -> list[tuple[Answer, ...]]:
        """For each (name, file's bytes) the answer of each version, in their order.

        Images that are refused together are asked about in halves.
        """

        def attempt() -> list[tuple[Answer, ...]]:
            document = self._send(
                "POST",
                "/predict",
                params=[("version", version.number) for version in versions],
                files=[
                    ("image", (name, data, "application/octet-stream"))
                    for name, data in images
                ],
            )
            try:
                answers = read_results(document, len(images), versions)
            except NotTheContract as error:
                raise Retry(str(error)) from error
            passing = [
                answer
                for answer in chain.from_iterable(answers)
                if isinstance(answer, NoAnswer) and not answer.is_final
            ]
            if passing:
                reason = f"an image failed: {passing[0].code}, {passing[0].message}"
                raise Retry(reason, fallback=answers)
            return answers

        try:
            return self._insist(attempt)
        except ImageRefused as refused:
            if len(images) == 1:
                return [(refused.answer,) * len(versions)]
        half = len(images) // 2
        return [*self.ask(images[:half], versions), *self.ask(images[half:], versions)]

    def _insist(
        self, attempt: Callable[[], T], *, silence_seconds: float | None = None
    ) -> T:
        """Until it works, or nothing has worked for as long as patience lasts.

        `silence_seconds` is how long nobody at all may answer; None is patience too.
        """
        started, pause = time.monotonic(), 0.1
        while not self._stopped.is_set():
            try:
                result = attempt()
            except Retry as reason:
                limit = self._patience_seconds
                if reason.is_silence and silence_seconds is not None:
                    limit = silence_seconds
                wait = reason.pause_seconds or pause
                idle = time.monotonic() - max(started, self._last_success)
                if idle + wait > limit:
                    if reason.fallback is not None:
                        fallback: T = reason.fallback
                        return fallback
                    raise ServiceUnavailable(
                        f"{self.url} gave no usable answer for {idle:.0f} s, and "
                        f"{wait:.1f} s more would be too long: {reason}; start it with "
                        "python -m serving, or wait longer with --patience"
                    ) from reason
                logger.info("retry pause=%.1f reason=%s", wait, reason)
                self.retries += 1
                self._stopped.wait(wait)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                self._last_success = time.monotonic()
                return result
        raise ServiceUnavailable(f"asking {self.url} was ended")

    def _send(
        self,
        method: str,
        path: str,
        *,
        read_seconds: float = READ_SECONDS,
        **options: Any,
    ) -> dict[str, Any]:
        """The JSON object that the service answers with.

        Retry where another try may help, ImageRefused, UnknownServed, or
        ServiceUnavailable where no try will.
        """
        try:
            response = self._session.request(
                method,
                f"{self.url}{path}",
                timeout=(CONNECT_SECONDS, min(read_seconds, self._longest_read)),
                **options,
            )
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            requests.exceptions.ContentDecodingError,
        ) as error:
            raise Retry(_short(error), is_silence=True) from error
        except requests.RequestException as error:
            raise ServiceUnavailable(f"cannot ask {self.url}: {error}") from error
        if response.status_code in (401, 403):
            raise KeyRefused(key_advice(self.url, response.status_code, self._key))
        return read_response(
            response.status_code,
            response.content,
            retry_after=response.headers.get("Retry-After"),
            asked=f"{method} {path}",
            has_images=method == "POST",
        )

    @property
    def _longest_read(self) -> float:
        """An answer that takes longer than patience lasts is none."""
        return max(SHORTEST_READ_SECONDS, self._patience_seconds)

    @property
    def _session(self) -> requests.Session:
        """One a thread: a session's connections are not to be shared."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            # No proxy stands between this machine and itself.
            host = urlparse(self.url).hostname or ""
            if host == "localhost" or host == "::1" or host.startswith("127."):
                self._local.session.trust_env = False
            if self._key is not None:
                # Not a header of the session: ~/.netrc would take its place.
                self._local.session.auth = _Bearer(self._key)
            self._sessions.append(self._local.session)
        session: requests.Session = self._local.session
        return session


class _Bearer(requests.auth.AuthBase):
    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def _short(error: Exception) -> str:
    """Of the chain of reasons that requests and urllib3 wrap, the innermost."""
    reason: BaseException = error
    while (inner := reason.__cause__ or reason.__context__) is not None:
        reason = inner
    return str(reason) or type(reason).__name__
