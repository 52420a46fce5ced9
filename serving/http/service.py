"""Services that all protocols share: versions, admission, deadlines, readiness."""

import math
import re
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from flask import Request, g
from gevent import monkey

from serving.http.bodies import BadRequest
from serving.inference.batcher import overloaded
from serving.inference.decoding import ClientWait, DecodeAll, Decoder
from serving.inference.native import new_lock
from serving.inference.predictor import Predictor
from serving.metrics import Metrics
from serving.shadow.shadow import Shadow
from serving.versions.pool import PredictorPool
from serving.versions.slot import NotReady
from serving.worker_sync import Control


class Admission:
    """Limits the requests in work; one beyond the limit is refused at once. One whose
    body is still coming takes no place."""

    def __init__(self, places: int, *, seconds_to_wait: Callable[[], float]) -> None:
        """`seconds_to_wait` estimates the time of the requests in work."""
        self.places = places
        self._seconds_to_wait = seconds_to_wait
        self._taken = 0
        self._changed = new_lock()

    def __enter__(self) -> None:
        """Takes a place. Raises Overloaded if there is none."""
        with self._changed:
            has_place = self._taken < self.places
            self._taken += has_place
        if not has_place:
            raise overloaded(
                f"{self.places} requests are being worked on, and no more may",
                self._seconds_to_wait(),
            )

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._taken -= 1


new_poll: Callable[[], select.poll] = monkey.get_original("select", "poll")
"""The kernel's poll: gevent's would let other greenlets go first."""


class WrongModel(LookupError):
    """The request names a model that is not served here."""


@dataclass(frozen=True)
class Service:
    pool: PredictorPool
    control: Control
    admission: Admission
    decoder: Decoder
    metrics: Metrics
    timeout_seconds: float
    is_draining: Callable[[], bool]
    """Whether the process is stopping and still answers requests."""

    all_ready: Callable[[], bool]
    """Whether all processes have loaded their versions; once true, always true."""

    shadow: Shadow | None = None

    def check_model(self, name: str) -> None:
        """Raises WrongModel; for protocols whose requests name a model."""
        models = self.pool.watch.models
        if name not in models:
            raise WrongModel(
                f"no model {name!r:.80} here; this service answers with "
                f"{', '.join(map(repr, models))}"
            )

    def predictors(
        self, names: Sequence[str | None], *, deadline: float = math.inf
    ) -> list[Predictor]:
        """One predictor for each requested version, each version once.

        Raises UnknownVersion, NotReady or DeadlinePassed; BadRequest for more versions
        than may be in memory at a time, as the request would hold them all.
        """
        if len(names) > 1:
            # Spellings of a name are looked up once: its alias may move between two
            # look-ups.
            names = list({n and self.pool.names.spelling(n): n for n in names}.values())
            self._check_number(names)
        unique = [self.pool.get(name, deadline=deadline) for name in names]
        if len(names) > 1:
            unique = list({p.version.name: p for p in unique}.values())
        g.state.predictors = unique
        return unique

    def _check_number(self, names: Sequence[str | None]) -> None:
        most = self.pool.most_at_once
        if most is None or len(names) <= most:
            return
        count = len({self.pool.names.resolve(name) for name in names})
        if count > most:
            raise BadRequest(
                f"{count} versions are asked for, and {most} may be in memory at a "
                f"time; ask for fewer in one request, or start the service with a "
                f"larger --max-loaded"
            )

    def deadline(self, request: Request, *, most: float = math.inf) -> float:
        """The deadline, a time of time.monotonic(). Raises BadRequest for a bad header.

        The time runs from the end of the request's head. `most` is the limit in seconds
        from the body.
        """
        text = request.environ.get("HTTP_X_REQUEST_TIMEOUT_MS")
        seconds = min(self.timeout_seconds, most)
        if text is not None:
            if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
                raise BadRequest(
                    f"X-Request-Timeout-Ms is {text[:40]!r}; it is a whole number of "
                    f"milliseconds"
                )
            seconds = min(seconds, int(text) / 1000)
        return time.monotonic() + seconds

    def decode(self, request: Request, deadline: float) -> DecodeAll:
        """A function that decodes the images of this request."""
        connection = request.environ.get("gunicorn.socket")
        client = ClientWait(deadline, partial(_is_closed, connection))
        return partial(self.decoder.decode, client=client)

    @property
    def is_ready(self) -> bool:
        try:
            self.check_ready()
        except NotReady:
            return False
        return True

    def check_ready(self) -> None:
        """Raises NotReady with the reason."""
        if self.is_draining():
            raise NotReady("the service is being stopped; ask another")
        if self.pool.start_failure is not None:
            raise NotReady(f"it will not become ready: {self.pool.start_failure}")
        if not self.pool.is_ready:
            raise NotReady("the versions to serve are being loaded; try again soon")
        if not self.all_ready():
            raise NotReady("other processes are still loading; try again soon")


def _is_closed(connection: socket.socket | None) -> bool:
    """Whether the client has closed its side. False without a connection."""
    if connection is None:
        return False
    poll = new_poll()
    try:
        poll.register(connection, select.POLLRDHUP)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True
