"""The settings of the service, from the command line or SERVING_* variables."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from typing import Any, Literal, get_args

BackendKind = Literal["onnx", "torch"]
DeviceKind = Literal["auto", "cpu", "cuda"]


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
    workers: int = 1
    """Processes; each holds the versions it serves."""

    threads: int = 8
    """Requests that a process works on at once."""

    max_batch_size: int = 32
    """Most images the model sees at once; larger requests are split."""

    def __post_init__(self) -> None:
        for name in ("max_loaded", "workers", "threads", "max_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 1, got {getattr(self, name)}"
                )
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be 0 to 65535, got {self.port}")
        for name, kind in (("backend", BackendKind), ("device", DeviceKind)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(
                    f"{name} must be one of {', '.join(get_args(kind))}, "
                    f"got {getattr(self, name)!r}"
                )
        if not self.listed and self.versions.strip() != "all":
            raise ValueError("versions must be 'all' or a list such as v8,v16")

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
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Answer with any number of versions over HTTP.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for field in fields(ServingConfig):
        default = "" if field.default is None else f" (default {field.default})"
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=_type_of(field),
            choices=get_args(field.type)
            if field.name in ("backend", "device")
            else None,
            help=f"{_HELP[field.name]}{default}; or {_variable(field)}",
        )
    given = vars(parser.parse_args(arguments))
    try:
        return ServingConfig(**{**_from_environment(os.environ), **given})
    except ValueError as error:
        parser.error(str(error))


_HELP: Mapping[str, str] = {
    "model": "registered model; the only one if there is one",
    "versions": "all, or a list such as v8,v16,@best",
    "max_loaded": "with all: most versions in memory",
    "host": "address to listen on",
    "port": "0 takes a free one",
    "backend": "what runs the network",
    "device": "what it runs on",
    "workers": "processes",
    "threads": "requests a process works on at once",
    "max_batch_size": "most images the model sees at once",
}


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
                f"{_variable(field)} must be a whole number, got {text!r}"
            ) from error
    return given


def _variable(field: Field[Any]) -> str:
    return f"SERVING_{field.name.upper()}"


def _type_of(field: Field[Any]) -> type[int] | type[str]:
    return int if field.type is int else str
