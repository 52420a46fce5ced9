"""The settings of the service, from the command line or SERVING_* variables."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from classifier.hardware import BackendKind, DeviceKind, PrecisionKind
from classifier.images.decoding_cost import MEGAPIXELS, check_max_megapixels

LogFormat = Literal["json", "text"]

METRICS_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's: where several processes count together."""

_CHOICES: Mapping[str, Any] = {
    "backend": BackendKind,
    "device": DeviceKind,
    "precision": PrecisionKind,
    "log_format": LogFormat,
}
_LEAST: Mapping[str, float] = {
    "max_wait_ms": 0.0,
    "max_queued": 1,
    "timeout_seconds": 0.001,
    "follow_seconds": 0.1,
    "drain_seconds": 0.0,
    "load_seconds": 0.001,
    "load_megabytes": 1,
}
_MOST = 1_000_000


@dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """Every field is a flag, `--max-loaded 4`, and a variable, SERVING_MAX_LOADED=4."""

    model: str | None = None
    """Registered model; None is the only one there is."""

    versions: str = "all"
    """`all`, or a list such as `v8,v16,@best`: those alone, the first by default."""

    max_loaded: int = 4
    """With `all`: most versions in memory; the least recently used goes first."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free one."""

    backend: BackendKind = "onnx"
    device: DeviceKind = "auto"
    precision: PrecisionKind = "fp32"
    """Of the torch backend on CPUs; bf16 answers a little otherwise."""

    workers: int = 1
    """Processes; each holds the versions it serves."""

    threads: int = 128
    """Of a process; all but 16 of them may work on requests for predictions."""

    max_batch_size: int = 32
    """Most images the network sees at once; larger requests are cut."""

    max_wait_ms: float = 0.0
    """How long a batch's first image waits for company; 0 takes what is there."""

    max_queued: int = 512
    """Images that may wait for a version; beyond it the answer is 429."""

    max_megapixels: float = MEGAPIXELS
    """Larger images are refused before they are decoded."""

    timeout_seconds: float = 30.0
    """How long a request may take; X-Request-Timeout-Ms asks for less."""

    follow_seconds: float = 5.0
    """How often the registry is asked where its aliases are."""

    drain_seconds: float = 5.0
    """After SIGTERM: how long /readyz says no while all else goes on."""

    load_seconds: float = 60.0
    """How long a version may take to load and warm."""

    load_megabytes: int = 4096
    """Memory that a version may take while it loads and warms."""

    keys: Path | None = None
    """File of lines `name predict|admin sha256-hex`; none lets anyone ask."""

    allowed_hosts: str | None = None
    """Names such as `a.example,b.example` that a request's Host may have, where there
    are no keys and the host is a loopback address; `*` is any, None this machine's."""

    log_format: LogFormat = "json"

    def __post_init__(self) -> None:
        for name in ("max_loaded", "workers", "threads", "max_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 1, got {getattr(self, name)}"
                )
        for name, least in _LEAST.items():
            if not least <= getattr(self, name) <= _MOST:
                raise ValueError(
                    f"{name} must be {least:g} to {_MOST:,}, got {getattr(self, name)}"
                )
        check_max_megapixels(self.max_megapixels)
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be 0 to 65535, got {self.port}")
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                raise ValueError(
                    f"{name} must be one of {', '.join(get_args(kind))}, "
                    f"got {getattr(self, name)!r}"
                )
        if not self.listed and self.versions.strip() != "all":
            raise ValueError("versions must be 'all' or a list such as v8,v16")

    @property
    def own_names(self) -> frozenset[str]:
        """Names of the service, in lower case, besides loopback names."""
        names = (self.allowed_hosts or "").lower().split(",")
        return frozenset((self.host.lower(), *filter(None, map(str.strip, names))))

    @property
    def listed(self) -> tuple[str, ...]:
        """The versions of the list; empty for `all`."""
        if self.versions.strip() == "all":
            return ()
        return tuple(v.strip() for v in self.versions.split(",") if v.strip())


def config_from_environment(
    environment: Mapping[str, str] = os.environ,
) -> ServingConfig:
    """ValueError names the variable that is wrong."""
    return ServingConfig(**_from_environment(environment))


def parse_arguments(arguments: list[str]) -> ServingConfig:
    """Flags win over variables. Exits with 2 and a message on wrong usage."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    try:
        return ServingConfig(**{**_from_environment(os.environ), **given})
    except ValueError as error:
        parser.error(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        usage="python -m serving [flags]",
        description="Answer with any number of versions over HTTP.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for field in fields(ServingConfig):
        if field.name in _GROUPS:
            group = parser.add_argument_group(_GROUPS[field.name])
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=_type_of(field),
            choices=get_args(_CHOICES[field.name]) if field.name in _CHOICES else None,
            metavar=None if field.name in _CHOICES else _METAVARS[_type_of(field)],
            help=f"{_HELP[field.name]} (default: {_default(field)})",
        )
    return parser


_GROUPS: Mapping[str, str] = {
    "model": "what is served",
    "host": "where it listens",
    "backend": "how the network runs",
    "workers": "processes and batches",
    "max_queued": "limits and times",
    "keys": "keys and log",
}
"""The field that begins a group of --help; those behind it belong to it as well."""

_METAVARS: Mapping[type, str] = {int: "N", float: "X", str: "TEXT", Path: "FILE"}

_EPILOG = """SERVING_MAX_LOADED=8 is --max-loaded 8, and so on for each flag; flags win.

examples:
  python -m serving
  python -m serving --model digits-resnet18 --versions v8,v16
  python -m serving --versions @best,v8 --host 0.0.0.0 --keys keys.txt
  python -m serving --backend torch --device cuda --port 0

exit codes: 0 stopped, 2 wrong usage, 3 not now (store, address, device, a version that
cannot load), 4 a fault of ours"""

_HELP: Mapping[str, str] = {
    "model": "registered model",
    "versions": "all, or a list such as v8,v16,@best: those alone",
    "max_loaded": "with all: most versions in memory",
    "host": "address to listen on",
    "port": "0 takes a free one",
    "backend": "onnx: ONNX Runtime; torch: PyTorch",
    "device": "auto: a GPU where one is usable",
    "precision": "of the torch backend on CPUs",
    "workers": "processes; each holds the versions it serves",
    "threads": "of a process; all but 16 may work on predictions",
    "max_batch_size": "most images the network sees at once",
    "max_wait_ms": "milliseconds a batch's first image waits for company",
    "max_queued": "images that may wait for a version; beyond it: 429",
    "max_megapixels": "larger images are refused",
    "timeout_seconds": "how long a request may take",
    "follow_seconds": "how often the registry is asked where its aliases are",
    "drain_seconds": "after SIGTERM: how long /readyz says no while all else goes on",
    "load_seconds": "how long a version may take to load and warm",
    "load_megabytes": "memory that a version may take while it loads and warms",
    "keys": "file of lines 'name predict|admin sha256-hex'",
    "allowed_hosts": "names that may stand in Host, where a proxy sends its own to a "
    "loopback address without keys; * is any",
    "log_format": "of the log on standard error",
}

_DEFAULTS: Mapping[str, str] = {
    "model": "the only one there is",
    "max_wait_ms": "0, takes what is there",
    "keys": "none, anyone may ask",
    "allowed_hosts": "none",
}
"""In words, where the value says too little."""


def _default(field: Field[Any]) -> str:
    default = field.default
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    return _DEFAULTS.get(field.name, shown)


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for field in fields(ServingConfig):
        text = environment.get(_variable(field))
        if not text:  # an empty variable is an unset one
            continue
        try:
            given[field.name] = _type_of(field)(text)
        except ValueError as error:
            raise ValueError(
                f"{_variable(field)} must be a {_KINDS[_type_of(field)]}, got {text!r}"
            ) from error
    return given


def _variable(field: Field[Any]) -> str:
    return f"SERVING_{field.name.upper()}"


_KINDS: Mapping[type, str] = {int: "whole number", float: "number"}


def _type_of(field: Field[Any]) -> type[int] | type[float] | type[str] | type[Path]:
    if field.type in (int, float):
        return field.type
    return Path if field.name == "keys" else str


THREADS_TO_SPARE = 16
"""For probes, for metrics, and for saying no."""
