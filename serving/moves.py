"""Names that move to another version, each in a thread of its own."""

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Moves:
    """One whose version takes long to load holds up neither the others nor the reading
    of the registry."""

    def __init__(self) -> None:
        self._under_way: set[str] = set()
        self._changing = threading.Lock()

    def start(self, name: str, move: Callable[[], None]) -> threading.Thread | None:
        """None where the name moves already; it is looked at after the next reading."""
        with self._changing:
            if name in self._under_way:
                return None
            self._under_way.add(name)
        thread = threading.Thread(
            target=self._run, args=(name, move), name="follow", daemon=True
        )
        thread.start()
        return thread

    def _run(self, name: str, move: Callable[[], None]) -> None:
        try:
            move()
        except Exception:
            logger.exception("not followed name=%s", name or "default")
        finally:
            with self._changing:
                self._under_way.discard(name)
