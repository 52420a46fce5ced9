"""How many processor cores this process may really use."""

import math
import os
from pathlib import Path


def usable_cores() -> int:
    """The least of affinity and the cgroup's quota; at least 1.

    os.cpu_count() tells the machine's cores, also inside a container limited to one.
    """
    cores = len(os.sched_getaffinity(0))
    for limit in (_quota_v2(), _quota_v1()):
        if limit is not None:
            cores = min(cores, math.ceil(limit))
    return max(1, cores)


def _quota_v2(path: Path = Path("/sys/fs/cgroup/cpu.max")) -> float | None:
    try:
        quota, period = path.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(folder: Path = Path("/sys/fs/cgroup/cpu")) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 else None
