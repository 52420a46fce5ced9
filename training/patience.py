"""Tries again what failed for a reason that may pass: a full disk, a server away."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from classifier.store import StoreUnavailable

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long, and how often."""

    seconds: float = 600.0
    """From the first failure on: a server that restarts, someone who frees a disk."""

    longest_pause_seconds: float = 20.0
    given_up: threading.Event = field(default_factory=threading.Event)
    """Set, nothing is tried again."""

    def insist(self, work: Callable[[bool], T], *, what: str) -> T:
        """What `work(again)` gives, once it is done.

        The last StoreUnavailable or OSError when patience is over.

        `again` is True from the second time on: parts may be done already.
        """
        again, pause, until = False, 1.0, time.monotonic() + self.seconds
        while True:
            try:
                return work(again)
            except (StoreUnavailable, OSError) as error:
                if again is False:
                    until = time.monotonic() + self.seconds
                left = until - time.monotonic()
                if left <= 0 or self.given_up.is_set():
                    raise
                logger.warning(
                    "cannot %s yet: %s; trying again for %.0f s", what, error, left
                )
            again = True
            self.given_up.wait(min(pause, left))
            pause = min(2 * pause, self.longest_pause_seconds)
