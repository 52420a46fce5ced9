"""What a service's answer means for who asked: take it, ask again, or give up."""

import json
from http import HTTPStatus
from typing import Any

from compare.contract import FINAL_CODES, NoAnswer

RETRIED = frozenset({429, 502, 503, 504})
BODY_TOO_LARGE = (
    "the service, or a proxy before it, takes no request of this image's size"
)


class ServiceUnavailable(RuntimeError):
    """Nothing answers there, or not as a service of versions does."""


class VersionFailed(ServiceUnavailable):
    """The service has the version, and can never load it."""


class UnknownServed(LookupError):
    """The service has no such version."""


class KeyRefused(RuntimeError):
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
