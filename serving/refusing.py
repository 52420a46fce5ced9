"""A listening socket that takes no more connections, and loses none that it took."""

import contextlib
import ctypes
import socket
import struct
from collections.abc import Callable

SO_ATTACH_FILTER = 26
"""Linux's (socket(7)); Python has no name for it."""

SYN_DROPPED = (
    (0x30, 0, 0, 13),  # load byte 13 of the TCP header, its flags
    (0x45, 0, 1, 0x02),  # where SYN is not set, skip one
    (0x06, 0, 0, 0),  # keep nothing
    (0x06, 0, 0, 2**32 - 1),  # keep all
)
"""For the classic packet filter: operation, two jumps, operand (linux/filter.h)."""


def refuse(listener: socket.socket, accept_waiting: Callable[[], None]) -> None:
    """From now on, in all processes that share the socket.

    The kernel takes connections as long as one process has the socket open, and resets
    what nobody accepted when it is closed. So it is first made deaf to new ones, then
    what waits is accepted, and then it is closed for all; a client that asked between
    asks again after a second, as TCP does, and is refused.
    """
    lines = b"".join(struct.pack("HBBI", *line) for line in SYN_DROPPED)
    program = ctypes.create_string_buffer(lines, len(lines))
    pointer = struct.pack("HL", len(SYN_DROPPED), ctypes.addressof(program))
    with contextlib.suppress(OSError):  # a kernel without filters
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pointer)
    accept_waiting()
    with contextlib.suppress(OSError):  # another process has done it
        listener.shutdown(socket.SHUT_RDWR)
