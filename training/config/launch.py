"""Variables that torchrun sets for each process of a run."""

import os


def is_first_process() -> bool:
    """Whether this process prints and publishes for all processes of the run."""
    return process_number("WORLD_SIZE", 1) == 1 or process_number("RANK", 0) == 0


def processes_here() -> int:
    """Processes of the run on this machine, which share its GPUs."""
    return process_number("LOCAL_WORLD_SIZE", process_number("WORLD_SIZE", 1))


def program() -> str:
    """The command before the arguments: `python -m training`, or torchrun's form."""
    if process_number("WORLD_SIZE", 1) == 1:
        return "python -m training"
    machines = process_number("GROUP_WORLD_SIZE", 1)
    nodes = f"--nnodes {machines} " if machines > 1 else ""
    return f"torchrun {nodes}--nproc-per-node {processes_here()} -m training"


def launch_name() -> str | None:
    """The name that all restarts of a launch have: torchrun's --rdzv-id.

    None without torchrun, and for the static rendezvous, which has no name of its own.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return None if name in ("", "none") else name


def is_started_again() -> bool:
    """Whether torchrun has started this launch's processes before."""
    return process_number("TORCHELASTIC_RESTART_COUNT", 0) > 0


def process_number(variable: str, default: int) -> int:
    """The value of a variable of torchrun. Raises ValueError if it is no number."""
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal():
        raise ValueError(f"{variable} must be a whole number, got {text!r}; {_REMEDY}")
    return int(text)


LARGEST_PORT = 65_535


_REMEDY = "torchrun sets it: start the processes with torchrun, or unset it"


def _check_torchrun() -> None:
    """Raises ValueError if torchrun's variables do not describe a process of a run."""
    size = process_number("WORLD_SIZE", 1)
    if size != 1:
        for variable in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
            if not os.environ.get(variable):
                raise ValueError(f"WORLD_SIZE is {size} without {variable}; {_REMEDY}")
        if process_number("MASTER_PORT", 0) > LARGEST_PORT:
            raise ValueError(
                f"MASTER_PORT is {os.environ['MASTER_PORT']}, and the largest port is "
                f"{LARGEST_PORT}; {_REMEDY}"
            )
    process_number("GROUP_WORLD_SIZE", 1)
    for variable, processes in (("RANK", size), ("LOCAL_RANK", processes_here())):
        rank = process_number(variable, 0)
        if size != 1 and rank >= processes:
            raise ValueError(
                f"{variable} is {rank}, and there are {processes} processes; {_REMEDY}"
            )
