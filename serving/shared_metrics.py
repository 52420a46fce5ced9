"""Where several processes of a service count together."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def shared_metrics(workers: int) -> Iterator[None]:
    """Sets the variable that prometheus_client asks for when it is imported.

    A folder of files that all processes map; a new one each time, as what lies in it
    would be counted. One process counts in its own memory.
    """
    if workers == 1 or VARIABLE in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="flipside-metrics-") as folder:
        os.environ[VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[VARIABLE]
