"""Client of a service: what it retries, for how long, and what it gives up."""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from itertools import chain
from typing import Any, TypeVar
from urllib.parse import quote, urlparse

import requests

from classifier.console.exits import NotNow, WrongUsage
from classifier.store.versions import qualified
from compare.collect.schema import (
    FINAL_CODES,
    Answer,
    NoAnswer,
    NotTheContract,
    ServedVersion,
    read_results,
    read_version,
    served_models,
)

T = TypeVar("T")

logger = logging.getLogger(__name__)

RETRIED = frozenset({429, 502, 503, 504})
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0

FIRST_ANSWER_SECONDS = 5.0
"""A service that has not answered by then is not there: with the start of the program,
which takes 3 s, exit code 3 comes within 10 s."""

CONNECT_SECONDS, READ_SECONDS = 3.0, 60.0
SHORTEST_READ_SECONDS = 2.0
"""With no patience either, a busy service has this long to answer."""

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


class ServedOtherwise(NotNow, RuntimeError):
    """The service answers for a version with another backend or precision."""


class TransientFailure(Exception):
    """A request that may succeed after a pause."""

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
        """The pause that the service asks for."""

        self.is_silence = is_silence
        """No answer came at all; another class is for answers that are no use yet."""

        self.fallback = fallback
        """The result when patience is over; None raises ServiceUnavailable."""


class ImageRefused(Exception):
    """A request with an image that cannot be read, or with too many bytes."""

    def __init__(self, answer: NoAnswer) -> None:
        super().__init__(answer.message)
        self.answer = answer


class Service:
    """A service at a URL; safe to use from several threads."""

    reads_images = True

    def __init__(
        self,
        url: str,
        *,
        patience_seconds: float,
        key: str | None = None,
        model: str | None = None,
    ) -> None:
        """Versions are of `model`, if the service has several."""
        self.url = url.rstrip("/")
        self._key = key
        self._model = model
        self.retries = 0
        self._patience_seconds = patience_seconds
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._last_success = time.monotonic()
        self._stopped = threading.Event()
        self._served_as: dict[tuple[str, str], str] = {}

    def hasty(self, patience_seconds: float) -> "Service":
        """Another client of the same service."""
        patience = min(patience_seconds, self._patience_seconds)
        return Service(self.url, patience_seconds=patience, key=self._key)

    def stop(self) -> None:
        """End all retries in other threads; they raise ServiceUnavailable."""
        self._stopped.set()

    def close(self) -> None:
        """End the connections: gunicorn waits for open ones before it stops."""
        self.stop()
        for session in self._sessions:
            session.close()

    def list_versions(self) -> Mapping[str, Any]:
        """`GET /versions`. Raises ServiceUnavailable if no service answers in time."""
        limit = min(FIRST_ANSWER_SECONDS, self._patience_seconds)
        listed = self._retry(
            # A service that accepts the connection and is silent is given up too.
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

    def read(self, path: str) -> Mapping[str, Any]:
        """The JSON of another route. Raises as `list_versions`."""
        limit = min(FIRST_ANSWER_SECONDS, self._patience_seconds)
        return self._retry(lambda: self._send("GET", path), silence_seconds=limit)

    def download(self, path: str) -> bytes | None:
        """The bytes of a file; None if there is none."""

        def attempt() -> bytes | None:
            response = self._respond("GET", path)
            if response.status_code == HTTPStatus.OK:
                return response.content
            if response.status_code == HTTPStatus.NOT_FOUND:
                return None
            _read_response(response, f"GET {path}", has_images=False)
            return None

        return self._retry(attempt)

    def version(self, name: str) -> ServedVersion:
        """One version as the service shows it. Raises UnknownServed."""
        listed = self.list_versions()
        if self._model is not None and len(served_models(listed)) > 1:
            name = qualified(self._model, name)
        path = f"/versions/{quote(name, safe='')}"
        entry = self._retry(lambda: self._send("GET", path))
        try:
            return read_version(entry, listed)
        except NotTheContract as error:
            raise ServiceUnavailable(f"{self.url}/versions/{name}: {error}") from error

    def predict(
        self, images: Sequence[tuple[str, bytes]], versions: Sequence[ServedVersion]
    ) -> list[tuple[Answer, ...]]:
        """For each (name, file's bytes) the answer of each version, in their order.

        A batch that is refused is sent again in halves.
        """
        try:
            return self._retry(lambda: self._request_answers(images, versions))
        except ImageRefused as refused:
            if len(images) == 1:
                return [(refused.answer,) * len(versions)]
        half = len(images) // 2
        return [
            *self.predict(images[:half], versions),
            *self.predict(images[half:], versions),
        ]

    def _request_answers(
        self, images: Sequence[tuple[str, bytes]], versions: Sequence[ServedVersion]
    ) -> list[tuple[Answer, ...]]:
        document = self._send(
            "POST",
            "/predict",
            params=[("version", version.asked) for version in versions],
            files=[
                ("image", (name, data, "application/octet-stream"))
                for name, data in images
            ],
            check=partial(self._check_form, versions),
        )
        try:
            answers = read_results(document, len(images), versions)
        except NotTheContract as error:
            raise TransientFailure(str(error)) from error
        for answer in chain.from_iterable(answers):
            if isinstance(answer, NoAnswer) and not answer.is_final:
                reason = f"an image failed: {answer.code}, {answer.message}"
                raise TransientFailure(reason, fallback=answers)
        return answers

    def _check_form(
        self, versions: Sequence[ServedVersion], answer: requests.Response
    ) -> None:
        """Raises ServedOtherwise unless each version was answered for in the precision
        of its name, and as all the time. A service that does not say is believed."""
        said = answer.headers.get("X-Served-As", "")
        forms = [form.strip() for form in said.split(",")]
        if answer.status_code != HTTPStatus.OK or not said:
            return
        for place, version in enumerate(versions):
            form = forms[place if len(forms) > 1 else 0]
            first = version.served_as or form
            expected = self._served_as.setdefault(version.key, first)
            if form == expected and form.endswith(f";{version.precision}"):
                continue
            wanted = expected if form != expected else version.precision
            raise ServedOtherwise(
                f"{self.url} answered for version {version.number} as {form}, not as "
                f"{wanted}; give it --precision fp32, or compare v8.int8 where int8 is "
                f"meant"
            )

    def _retry(
        self, attempt: Callable[[], T], *, silence_seconds: float | None = None
    ) -> T:
        """Repeat `attempt` until it succeeds, or nothing has for as long as patience.

        `silence_seconds` is the longest time without any answer; None: patience.
        Neither urllib3's Retry nor tenacity does this: patience counts from the last
        success of any thread, and the reason to retry is often in an answer's body.
        """
        started, pause = time.monotonic(), FIRST_PAUSE_SECONDS
        while not self._stopped.is_set():
            try:
                result = attempt()
            except TransientFailure as failure:
                limit = self._patience_seconds
                if failure.is_silence and silence_seconds is not None:
                    limit = silence_seconds
                wait = failure.pause_seconds or pause
                idle = time.monotonic() - max(started, self._last_success)
                if idle + wait > limit:
                    if failure.fallback is not None:
                        fallback: T = failure.fallback
                        return fallback
                    raise ServiceUnavailable(
                        f"{self.url} gave no usable answer for {idle:.0f} s, and "
                        f"{wait:.1f} s more would be too long: {failure}; start it "
                        "with python -m serving, or wait longer with --patience"
                    ) from failure
                logger.info("retry pause=%.1f reason=%s", wait, failure)
                self.retries += 1
                self._stopped.wait(wait)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                self._last_success = time.monotonic()
                return result
        raise ServiceUnavailable(f"the requests to {self.url} were stopped")

    def _send(
        self,
        method: str,
        path: str,
        *,
        read_seconds: float = READ_SECONDS,
        check: Callable[[requests.Response], None] = lambda answer: None,
        **options: Any,
    ) -> dict[str, Any]:
        """The JSON object that the service answers with.

        Raises TransientFailure if another try may help. If none will, raises
        ImageRefused, UnknownServed, KeyRefused or ServiceUnavailable.
        """
        response = self._respond(method, path, read_seconds=read_seconds, **options)
        check(response)
        return _read_response(response, f"{method} {path}", has_images=method == "POST")

    def _respond(
        self,
        method: str,
        path: str,
        *,
        read_seconds: float = READ_SECONDS,
        **options: Any,
    ) -> requests.Response:
        """Raises TransientFailure, KeyRefused or ServiceUnavailable."""
        # An answer that takes longer than patience lasts is none.
        longest = max(SHORTEST_READ_SECONDS, self._patience_seconds)
        try:
            response = self._session.request(
                method,
                f"{self.url}{path}",
                timeout=(CONNECT_SECONDS, min(read_seconds, longest)),
                **options,
            )
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            requests.exceptions.ContentDecodingError,
        ) as error:
            raise TransientFailure(_innermost(error), is_silence=True) from error
        except requests.RequestException as error:
            raise ServiceUnavailable(
                f"the request to {self.url} failed: {error}"
            ) from error
        if response.status_code in (401, 403):
            scope = "read images" if path.startswith("/shadow/") else "predict"
            status = response.status_code
            raise KeyRefused(_key_advice(self.url, status, self._key, scope))
        return response

    @property
    def _session(self) -> requests.Session:
        """One session a thread: its connections cannot be shared."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            # No proxy stands between this machine and itself.
            host = urlparse(self.url).hostname or ""
            if host == "localhost" or host == "::1" or host.startswith("127."):
                self._local.session.trust_env = False
            if self._key is not None:
                # Not a header of the session: ~/.netrc would take its place.
                self._local.session.auth = self._with_key
            self._sessions.append(self._local.session)
        session: requests.Session = self._local.session
        return session

    def _with_key(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def _key_advice(url: str, status: int, key: str | None, may: str) -> str:
    if key is None:
        return (
            f"{url} wants a key (status {status}); name a file whose first line is "
            "yours with --key FILE"
        )
    return (
        f"{url} does not take the key of --key (status {status}); ask who runs it for "
        f"one that may {may}"
    )


def _read_response(
    response: requests.Response, request: str, *, has_images: bool
) -> dict[str, Any]:
    """The JSON object of a success; every other answer raises what it means."""
    status = response.status_code
    code, message = _read_error(response.content) if status != 200 else ("", "")
    if status in RETRIED:
        if code == "version_failed":
            raise VersionFailed(message)
        why = f", {code}: {message}" if code else ""
        pause = _seconds(response.headers.get("Retry-After"))
        raise TransientFailure(f"status {status}{why}", pause_seconds=pause)
    if has_images and status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # A proxy often answers so, with a page that is no JSON.
        raise ImageRefused(NoAnswer("body_too_large", BODY_TOO_LARGE))
    try:
        document = json.loads(response.content)
    except (ValueError, RecursionError) as error:
        raise TransientFailure(f"{request} gave status {status}, no JSON") from error
    if not isinstance(document, dict):
        raise TransientFailure(f"{request} gave JSON that is no object")
    if status == HTTPStatus.OK:
        return document
    if has_images and code in FINAL_CODES:
        raise ImageRefused(NoAnswer(code, message))
    # Of a name alone: several of the service's models have such a version.
    is_ambiguous = not has_images and code == "bad_request"
    if code == "unknown_version" or is_ambiguous:
        raise UnknownServed(message)
    raise ServiceUnavailable(f"{request} was refused with status {status}: {message}")


def _read_error(body: bytes) -> tuple[str, str]:
    """Code and message of the contract's error; another error has an empty code."""
    try:
        error = json.loads(body)["error"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return "", "no error in its JSON"
    if not isinstance(error, dict):
        return "", str(error)
    return str(error.get("code")), str(error.get("message"))


def _seconds(retry_after: str | None) -> float | None:
    """None for the header's date form, which services of this kind do not use."""
    try:
        return max(0.05, float(retry_after or ""))
    except ValueError:
        return None


def _innermost(error: Exception) -> str:
    """The first of the errors that requests and urllib3 wrap in one another."""
    reason: BaseException = error
    while (inner := reason.__cause__ or reason.__context__) is not None:
        reason = inner
    return str(reason) or type(reason).__name__
