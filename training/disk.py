"""Whether what will be written fits the disk."""

import shutil
from pathlib import Path


class DiskTooSmall(RuntimeError):
    """A disk has less room than will be written to it."""


def check_room(folder: Path, needed_bytes: int, *, purpose: str, remedy: str) -> None:
    """DiskTooSmall where `folder`, which need not be there yet, has less room.

    `purpose` and `remedy` are parts of its message: what for, and what to do.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise DiskTooSmall(
            f"{purpose} takes {megabytes(needed_bytes)} in {folder}, and "
            f"{megabytes(free)} are free there; {remedy}"
        )


def megabytes(count: int) -> str:
    """Decimal, as `df --si` and shops count: '1,229 MB'."""
    return f"{count / 1e6:,.0f} MB" if count >= 1e6 else f"{count / 1e6:.2f} MB"
