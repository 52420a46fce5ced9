"""How this process was started: alone, or by torchrun with others.

Imports nothing that takes time: a Ctrl-C is answered before torch is there.
"""

import os


def is_first_process() -> bool:
    """The one that speaks for all."""
    return _number("WORLD_SIZE", 1) == 1 or _number("RANK", 0) == 0


def processes_here() -> int:
    """On this machine, which share its GPUs."""
    return _number("LOCAL_WORLD_SIZE", _number("WORLD_SIZE", 1))


def program() -> str:
    """What to type before the arguments: `python -m training`, or torchrun's form."""
    if _number("WORLD_SIZE", 1) == 1:
        return "python -m training"
    machines = _number("GROUP_WORLD_SIZE", 1)
    nodes = f"--nnodes {machines} " if machines > 1 else ""
    return f"torchrun {nodes}--nproc-per-node {processes_here()} -m training"


def _number(variable: str, default: int) -> int:
    return int(os.environ.get(variable, default))
