"""One at a time over all processes of a service, with nothing left behind."""

import errno
import socket
import time

from serving.peers import check_same_user

WAITING = 128
"""Processes that may wait."""


def wait_for_turn(name: str, *, seconds: float) -> socket.socket:
    """It is the caller's turn until the socket is closed, or its process ends.

    TimeoutError; PermissionError where another user's process has taken the name. An
    abstract socket (unix(7)) is bound by one alone; who waits is connected to it, and
    so hears of its end.
    """
    deadline = time.monotonic() + seconds
    while True:
        held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            held.bind(f"\0{name}")
            held.listen(WAITING)
            return held
        except OSError as error:
            held.close()
            if error.errno != errno.EADDRINUSE:
                raise
        _wait_for_its_end(name, deadline - time.monotonic())


def _wait_for_its_end(name: str, seconds: float) -> None:
    if seconds <= 0:
        raise TimeoutError("timed out")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as waiting:
        waiting.settimeout(seconds)
        try:
            waiting.connect(f"\0{name}")
            check_same_user(waiting)
            waiting.recv(1)  # nothing is ever sent
        except (ConnectionRefusedError, ConnectionResetError):
            return  # ended, or not listening yet
