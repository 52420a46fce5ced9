"""Changes of what is served, in every process of the service."""

import logging
import os
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from classifier.versions import UnknownVersion, canonical_name
from serving.peers import ANSWER_SECONDS, PeerFailed, Peers
from serving.predictor_pool import PredictorPool
from serving.slot import NotReady
from serving.turns import wait_for_turn
from serving.version_status import VersionStatus

TURN_SECONDS = 120.0
"""How long a change waits for those before it, which may be loading."""

logger = logging.getLogger(__name__)


class Control:
    """Of one process; with `service` set, in step with the others of that name.

    Changes have an order in all processes: one is made at a time, and each has a
    number.
    """

    def __init__(self, pool: PredictorPool, *, service: str | None = None) -> None:
        """What the others serve is served here too; nothing is loaded yet."""
        self._pool = pool
        self._service = service
        self._changes = 0
        """The number of the last change that was made here."""

        self._has_adopted = threading.Event()
        self._peers = None if service is None else Peers(service, self._obey)
        # First there, then asking: what changes from now on is told here as well.
        self._adopt()

    def add(self, asked: str) -> VersionStatus:
        """Ready in all processes when it returns; UnknownVersion, NotReady: in none."""
        # Before its turn: what is not known, or hangs while it loads, holds up nobody.
        name, number = canonical_name(asked), self._pool.number_to_add(asked)
        with self._pool.prepared(number) as slot, self._turn():
            before = self._pool.stands_for(name)
            status = self._pool.add(name, number=number, prepared=slot)
            try:
                self._tell({"do": "add", "name": name, "number": number})
            except PeerFailed as error:
                self._undo(name, number=number, before=before)
                raise NotReady(
                    f"version {number} cannot be served by all processes of the "
                    f"service: {error}"
                ) from error
            return status

    def remove(self, asked: str) -> VersionStatus:
        """Gone in all processes when it returns; UnknownVersion, NotReady."""
        self._pool.number(asked)
        with self._turn():
            removed = self._pool.remove(asked)
            number = removed.status.version.number
            try:
                self._tell({"do": "remove", "names": removed.names, "number": number})
            except PeerFailed as error:
                raise NotReady(
                    f"version {number} was not taken away in all processes of the "
                    f"service: {error}"
                ) from error
            return removed.status

    def _turn(self) -> AbstractContextManager[Any]:
        if self._service is None:
            return nullcontext()
        try:
            return wait_for_turn(f"flipside/{self._service}.turn", seconds=TURN_SECONDS)
        except OSError as error:
            raise NotReady(
                f"what is served cannot be changed now, as another change is not done "
                f"({error}); try again soon"
            ) from error

    def _tell(self, change: dict[str, Any]) -> None:
        self._changes += 1
        if self._peers is not None:
            self._peers.tell({**change, "change": self._changes})

    def _undo(self, name: str, *, number: str, before: str | None) -> None:
        """What this change has changed, and no more."""
        if before == number:
            return
        change: dict[str, Any] = {"do": "add", "name": name, "number": before}
        if before is None:
            change = {"do": "remove", "names": [name], "number": number}
        for make in (self._make, self._tell):
            try:
                make(change)
            except (NotReady, PeerFailed, UnknownVersion) as error:
                logger.error("not undone name=%s reason=%s", name, error)

    def _obey(self, message: Any) -> Any:
        if message["do"] == "tell":
            return {"change": self._changes, "served": self._pool.state()}
        # Else what is adopted would come after this change, and without it.
        self._has_adopted.wait(ANSWER_SECONDS)
        self._make(message)
        self._changes = max(self._changes, message["change"])
        return None

    def _make(self, change: Any) -> None:
        """Here; to remove what is gone is no error."""
        match change:
            case {"do": "add", "name": str(name), "number": str(number)}:
                self._pool.add(name, number=number)
            case {"do": "remove", "names": [*names], "number": str(number)}:
                if self._pool.take_away(number, names):
                    # A name that has moved away from it elsewhere, and here not yet.
                    self._pool.read_registry()

    def _adopt(self) -> None:
        """The state after the latest change, as one may be half told just now."""
        try:
            states = [] if self._peers is None else self._peers.ask({"do": "tell"})
            if states:
                latest = max(states, key=lambda state: int(state["change"]))
                self._changes = latest["change"]
                self._pool.adopt(latest["served"])
        finally:
            self._has_adopted.set()


def service_of_parent() -> str:
    """A name that the children of one process share, and no others ever."""
    parent = os.getppid()
    # Its start, the 22nd field (proc(5)): numbers of processes are used again.
    fields = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()
    return f"{parent}-{fields[19]}"
