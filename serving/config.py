"""The settings of the service, from the command line or SERVING_* variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from classifier.console.flags import (
    Flag,
    check_fields,
    environment_values,
    field_values,
    new_parser,
)
from classifier.hardware import BackendKind, DeviceKind, Form, PrecisionKind
from classifier.images.decoding_cost import MEGAPIXELS, check_max_megapixels

LogFormat = Literal["json", "text"]

PrecisionSetting = Literal[PrecisionKind, "auto"]

PRECISIONS: Mapping[BackendKind, tuple[PrecisionSetting, ...]] = {
    "onnx": ("fp32", "int8", "auto"),
    "openvino": ("fp32", "bf16", "int8", "auto"),
    "torch": ("fp32", "bf16"),
}

METRICS_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The variable of prometheus_client: where several processes count together."""

BODY_SECONDS = 60.0
"""Limit for a whole body: 64 MiB at 9 Mbit/s."""

_MOST = 1_000_000


@dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """Every field is a flag, `--max-loaded 4`, and a variable, SERVING_MAX_LOADED=4."""

    model: Annotated[
        str | None,
        Flag(
            "registered model", group="what is served", default="the only one there is"
        ),
    ] = None
    versions: Annotated[
        str, Flag("all, or a list such as v8,@best,birds/v3: those alone")
    ] = "all"
    max_loaded: Annotated[
        int,
        Flag(
            "with all: most versions in memory; the least recently used goes first",
            least=1,
        ),
    ] = 4
    shadow: Annotated[
        str | None,
        Flag(
            "version that is asked again about a share of what the default version "
            "answers, after the answer; GET /shadow counts disagreements",
            metavar="VERSION",
            default="none",
        ),
    ] = None
    shadow_rate: Annotated[
        float, Flag("that share; dropped while others wait", least=0, most=1)
    ] = 0.1
    shadow_keep: Annotated[
        Path | None,
        Flag(
            "keeps the last 1,000 images on which the two disagree; they are pictures "
            "of users",
            metavar="FOLDER",
            default="none is kept",
        ),
    ] = None
    host: Annotated[str, Flag("address to listen on", group="where it listens")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Flag("0 takes a free one", least=0, most=65535)] = 8000
    backend: Annotated[
        BackendKind,
        Flag(
            "onnx: ONNX Runtime; openvino: OpenVINO, on CPUs; torch: PyTorch",
            group="how the network runs",
        ),
    ] = "onnx"
    device: Annotated[DeviceKind, Flag("auto: a GPU where one is usable")] = "auto"
    precision: Annotated[
        PrecisionSetting,
        Flag(
            "bf16 (openvino; torch on CPUs) and int8 (a version's int8 form) change "
            "answers a little; auto: the fastest that hardly does, see --max-flips"
        ),
    ] = "fp32"
    max_flips: Annotated[
        float,
        Flag(
            "with auto: share of the images kept by a version's run whose first answer "
            "may differ from fp32's",
            least=0,
            most=1,
        ),
    ] = 0.01
    allow_network: Annotated[
        str,
        Flag(
            "functions of your own, by commas, that the torch backend may run to build "
            "a version's network",
            metavar="package.module:function",
            default="none",
        ),
    ] = ""
    workers: Annotated[
        int,
        Flag(
            "processes; each holds the versions it serves",
            group="processes and batches",
            least=1,
        ),
    ] = 1
    threads: Annotated[
        int,
        Flag("requests that a process works on at once; beyond it: 429", least=1),
    ] = 128
    max_batch_size: Annotated[
        int,
        Flag("most images the network sees at once; larger requests are cut", least=1),
    ] = 32
    max_wait_ms: Annotated[
        float,
        Flag(
            "milliseconds that a batch's first image waits for others",
            default="0, takes what is there",
            least=0,
            most=_MOST,
        ),
    ] = 0.0
    max_queued: Annotated[
        int,
        Flag(
            "images that may wait for a version; beyond it: 429",
            group="limits and times",
            least=1,
            most=_MOST,
        ),
    ] = 512
    max_megapixels: Annotated[float, Flag("larger images are refused")] = MEGAPIXELS
    timeout_seconds: Annotated[
        float,
        Flag(
            "how long a request may take; X-Request-Timeout-Ms asks for less",
            least=0.001,
            most=_MOST,
        ),
    ] = 30.0
    follow_seconds: Annotated[
        float,
        Flag(
            "seconds between two readings of the registry",
            least=0.1,
            most=_MOST,
        ),
    ] = 5.0
    drain_seconds: Annotated[
        float,
        Flag(
            "after SIGTERM: how long /readyz says no while all else goes on",
            least=0,
            most=_MOST,
        ),
    ] = 5.0
    load_seconds: Annotated[
        float,
        Flag("how long a version may take to load and warm", least=0.001, most=_MOST),
    ] = 60.0
    load_megabytes: Annotated[
        int,
        Flag(
            "memory that a version may take while it loads and warms",
            least=1,
            most=_MOST,
        ),
    ] = 4096
    keys: Annotated[
        Path | None,
        Flag(
            "file of lines 'name predict|admin sha256-hex'",
            group="keys, log and what is kept",
            metavar="FILE",
            default="none, anyone may send requests",
        ),
    ] = None
    allowed_hosts: Annotated[
        str | None,
        Flag(
            "host names besides its own to answer to on a loopback address without "
            "keys, such as a proxy's; * is any",
            default="none",
        ),
    ] = None
    flagged: Annotated[
        Path | None,
        Flag(
            "pictures that people mark on the page are kept here, with the answers to "
            "them, for compare --data FOLDER",
            metavar="FOLDER",
            default="none, nothing is kept",
        ),
    ] = None
    log_format: Annotated[LogFormat, Flag("of the log on standard error")] = "json"

    def __post_init__(self) -> None:
        check_fields(self)
        check_max_megapixels(self.max_megapixels)
        if self.shadow_keep is not None and self.shadow is None:
            raise ValueError("shadow_keep needs shadow, the version to compare with")
        self._check_form()
        if not self.listed and self.versions.strip() != "all":
            raise ValueError("versions must be 'all' or a list such as v8,v16")
        if "all" in self.listed:
            raise ValueError(
                f"versions must be 'all' alone or a list without it, got "
                f"{self.versions!r}"
            )

    def _check_form(self) -> None:
        if self.precision not in (able := PRECISIONS[self.backend]):
            raise ValueError(
                f"precision {self.precision} is not for backend {self.backend}, which "
                f"has {', '.join(able)}"
            )
        if self.backend == "openvino" and self.device == "cuda":
            raise ValueError(
                "backend openvino runs on CPUs; take device cpu or auto, or another "
                "backend"
            )

    @property
    def graceful_seconds(self) -> int:
        """How long the requests that were accepted may take, after the drain: one may
        begin to run when its body has come as late as it may."""
        return int(self.timeout_seconds + BODY_SECONDS) + 5

    @property
    def form(self) -> Form:
        """The form in which versions are loaded; with auto another may replace it."""
        precision = self.precision
        return Form(self.backend, "fp32" if precision == "auto" else precision)

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


_GROUPS = (
    "what is served",
    "where it listens",
    "how the network runs",
    "processes and batches",
    "limits and times",
    "keys, log and what is kept",
)

_EPILOG = """SERVING_MAX_LOADED=8 is --max-loaded 8, and so on for each flag; flags win.

examples:
  python -m serving
  python -m serving --model digits-resnet18 --versions v8,v16
  python -m serving --versions birds/v3,birds/@best,other/v1
  python -m serving --versions @best,v8 --host 0.0.0.0 --keys keys.txt
  python -m serving --versions @best --shadow @candidate --shadow-rate 0.1
  python -m serving --backend torch --device cuda --port 0

exit codes: 0 stopped, 2 wrong usage, 3 not now (store, address, device, a version that
cannot load), 4 a fault of ours"""


def config_from_environment(
    environment: Mapping[str, str] = os.environ,
) -> ServingConfig:
    """Settings from SERVING_* variables. ValueError names a wrong variable."""
    return ServingConfig(
        **environment_values(ServingConfig, environment, prefix="SERVING_")
    )


def parse_arguments(arguments: list[str]) -> ServingConfig:
    """Flags win over variables. Wrong usage ends the program with 2 and a message."""
    parser = new_parser(
        "serving",
        [ServingConfig],
        groups=_GROUPS,
        usage="python -m serving [flags]",
        description="Answer with any number of versions over HTTP.",
        epilog=_EPILOG,
    )
    typed = field_values(ServingConfig, vars(parser.parse_args(arguments)))
    try:
        variables = environment_values(ServingConfig, os.environ, prefix="SERVING_")
        return ServingConfig(**{**variables, **typed})
    except ValueError as error:
        parser.error(str(error))
