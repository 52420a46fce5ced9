"""Starts a service of our own before anything is known but what was typed.

It takes 2.5 s to be ready, which is about what this program takes to be imported: side
by side, and both are half of that on two cores.
"""

import contextlib
import socket
from collections.abc import Iterator

from classifier.versions import INT8, canonical_name
from compare.config import DEFAULT_ADDRESS, CompareConfig
from compare.service_process import OwnService, own_service

LOOK_SECONDS = 1.0


@contextlib.contextmanager
def early_service(config: CompareConfig) -> Iterator[OwnService | None]:
    """None where it must be asked first whether one is needed, and of what.

    So where one is named or listens at the default address, and where a version goes
    by an alias: the service would follow it while it is asked about one number.
    """
    asked = list(dict.fromkeys(map(canonical_name, (config.a, config.b))))
    if config.url is not None or not all(map(_is_number, asked)) or _is_taken():
        yield None
        return
    with own_service(
        model=config.model, versions=asked, max_megapixels=config.max_megapixels
    ) as own:
        yield own


def _is_number(name: str) -> bool:
    """`name` is canonical."""
    return name.removesuffix(INT8).isdecimal()


def _is_taken() -> bool:
    """Whether anything listens where a service would be looked for."""
    try:
        socket.create_connection(DEFAULT_ADDRESS, timeout=LOOK_SECONDS).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True
