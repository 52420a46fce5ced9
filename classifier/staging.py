"""Builds a folder once, whole or not at all, whoever else wants it."""

import fcntl
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)


def default_cache() -> Path:
    """One per user: $XDG_CACHE_HOME/flipside, else ~/.cache/flipside."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "flipside"


def build_once(
    folder: Path,
    build: Callable[[Path], None],
    *,
    is_whole: Callable[[Path], bool] = Path.is_dir,
) -> Path:
    """`folder`, after `build` filled it if it was not there, or is damaged.

    `build` gets a folder under a temporary name, renamed when it returns. One process
    builds, others wait for it; the lock is the kernel's, so that a killed builder holds
    up nobody, and the next one starts from an empty folder. Whoever finds it damaged
    looks again under the lock: another process may have mended it.
    """
    if is_whole(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_whole(folder):
            if folder.is_dir():
                logger.warning("damaged folder=%s is built again", folder)
                shutil.rmtree(folder)
            partial = folder.parent / f".{folder.name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                build(partial)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            partial.rename(folder)
    return folder
