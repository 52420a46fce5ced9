"""Changes of what is served, in every process of the service."""

import os
from pathlib import Path
from typing import Any, Literal

from serving.peers import PeerFailed, Peers
from serving.predictor_pool import NotReady, PredictorPool, VersionStatus

Verb = Literal["add", "remove"]


class Control:
    """Of one process; with `service` set, in step with the others of that name."""

    def __init__(self, pool: PredictorPool, *, service: str | None = None) -> None:
        """What the others serve is served here too; nothing is loaded yet."""
        self._pool = pool
        self._peers = None if service is None else Peers(service, self._obey)
        # First there, then asking: what changes from now on is told here as well.
        for state in self._peers.tell({"do": "tell"}) if self._peers else ():
            pool.adopt(state)

    def add(self, asked: str) -> VersionStatus:
        """Ready in all processes when it returns; UnknownVersion, NotReady: in none."""
        status = self._pool.add(asked)
        try:
            self._tell("add", asked)
        except PeerFailed as error:
            self.remove(asked)
            raise NotReady(
                f"version {status.version.number} cannot be served by all processes of "
                f"the service: {error}"
            ) from error
        return status

    def remove(self, asked: str) -> VersionStatus:
        """Gone in all processes when it returns; UnknownVersion."""
        status = self._pool.remove(asked)
        self._tell("remove", status.version.number)
        return status

    def _tell(self, verb: Verb, asked: str) -> None:
        if self._peers is not None:
            self._peers.tell({"do": verb, "version": asked})

    def _obey(self, message: Any) -> Any:
        match message:
            case {"do": "tell"}:
                return self._pool.state()
            case {"do": "add", "version": str(asked)}:
                self._pool.add(asked)
            case {"do": "remove", "version": str(asked)}:
                self._pool.remove(asked)
        return None


def service_of_parent() -> str:
    """A name that the children of one process share, and no others ever."""
    parent = os.getppid()
    # Its start, the 22nd field (proc(5)): numbers of processes are used again.
    fields = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()
    return f"{parent}-{fields[19]}"
