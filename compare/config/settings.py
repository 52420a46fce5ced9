"""The settings of compare's four commands, each with its flag."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from classifier.console.flags import (
    Flag,
    check_fields,
    not_empty,
)
from classifier.images.decoding_cost import OWN_FILES_MEGAPIXELS, check_max_megapixels
from classifier.store.versions import INT8
from compare.collect.local_service import BATCH_SIZE
from compare.collect.schema import PREDICTIONS_ENDS, is_file_name
from compare.results.gates import Gate, parse_gate

LONGEST_ALIAS = 255

SUBJECT, VERDICT, SERVICE, OTHERS = (
    "the comparison",
    "the verdict",
    "the service",
    "instead of --a and --b",
)


def read_key(file: str) -> str:
    """The file's first line. ValueError if no header could carry it."""
    try:
        with Path(file).open(encoding="utf-8") as lines:
            key = lines.readline().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ValueError(f"{file} cannot be read: {reason}") from error
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(
            f"{file}: the first line must be the key, of printable ASCII characters "
            "without spaces"
        )
    return key


def _writable_file(text: str) -> Path:
    """ValueError at once, instead of when everything else is done."""
    file = Path(text)
    try:
        if not file.parent.is_dir():
            raise ValueError(f"there is no folder {file.parent}")
        if file.is_dir():
            raise ValueError(f"{file} is a folder; name a file")
    except OSError as error:  # a folder without permission, a name that is too long
        raise ValueError(f"{file}: {error.strerror}") from error
    return file


def _export(text: str) -> tuple[str, Path]:
    """Side and file. ValueError if it cannot be written, or is of another form."""
    side, name = ("a", text[2:]) if text.startswith("a=") else ("b", text)
    file = _writable_file(name)
    if not name.lower().endswith(PREDICTIONS_ENDS):
        raise ValueError(f"must end with {' or '.join(PREDICTIONS_ENDS)}, got {name!r}")
    return side, file


def _margin_gate(text: str) -> Gate:
    try:
        margin = float(text)
    except ValueError:
        raise ValueError(f"must be a number, got {text!r}") from None
    if not 0 <= margin < 1:
        raise ValueError(f"must be 0 to 1, a fraction, got {margin}")
    return parse_gate(f"delta.low<{-margin!r}")


_FAIL_ON = Flag(
    'exit 1 if true, e.g. "negative_flip_rate>0.06"; repeatable; see gates',
    name="fail-on",
    group=VERDICT,
    metavar="GATE",
    read=parse_gate,
    repeated=True,
)
_NON_INFERIOR = Flag(
    "exit 1 unless B is shown to be at most MARGIN (a fraction) worse",
    name="non-inferior",
    metavar="MARGIN",
    read=_margin_gate,
)
_Model = Annotated[
    str | None, Flag("registered model", metavar="NAME", default="the only one")
]
_Out = Annotated[
    Path | None, Flag("what is written", metavar="FOLDER", default="compare-vA-vB")
]
_Show = Annotated[
    int,
    Flag("also print the first N images by name", group=VERDICT, default="0", least=0),
]
_SummaryFile = Annotated[
    Path | None, Flag("summary.md here as well", metavar="FILE", read=_writable_file)
]
_Exports = Annotated[
    tuple[tuple[str, Path], ...],
    Flag(
        "B's answers here (a=FILE: A's), .csv or .parquet, to be given as --a or --b",
        name="export",
        metavar="FILE",
        read=_export,
        repeated=True,
    ),
]
_Fresh = Annotated[bool, Flag("delete the comparison in --out", default="continue it")]
_Key = Annotated[
    str | None,
    Flag(
        "its first line is sent as the key",
        metavar="FILE",
        default="none",
        read=read_key,
    ),
]
_Patience = Annotated[
    float,
    Flag("without progress, before the service is given up", metavar="SECONDS"),
]
_NoMlflow = Annotated[
    bool,
    Flag("log no run, tag no version", default="both, where there is a store"),
]


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Two versions, the images, and the gates that the candidate must pass."""

    a: Annotated[
        str,
        Flag(
            "baseline: v8, best, latest, MODEL/v8, models:/MODEL/8, models:/MODEL@best "
            "or a file: predictions (.csv, .parquet), a network (.onnx)",
            group=SUBJECT,
            metavar="VERSION",
        ),
    ]
    b: Annotated[str, Flag("candidate, likewise", metavar="VERSION")]
    model: _Model = None
    data: Annotated[
        str | None,
        Flag(
            "labelled images",
            metavar="PATH|digits",
            default="what the versions were trained on",
            read=not_empty,
        ),
    ] = None
    class_map: Annotated[
        Path | None,
        Flag(
            "CSV of a_id,b_id: pairs of classes that are the same, where neither ids "
            "nor names match",
            metavar="FILE",
            default="none",
        ),
    ] = None
    labels: Annotated[
        Path | None,
        Flag("a table file,label of their classes", metavar="FILE.csv", default="none"),
    ] = None
    part: Annotated[
        Literal["validation", "all"],
        Flag(
            "of images without train/ and val/: those that the versions' runs recorded "
            "for validation, or all; of pictures flagged on a service's page: those "
            "with a true class, or all, without"
        ),
    ] = "validation"
    limit: Annotated[
        int | None,
        Flag("only N images, a fixed sample by class", default="all", least=1),
    ] = None
    # It limits our own service, and the pictures of the report.
    max_megapixels: Annotated[
        float,
        Flag("larger images count as unanswered, where no --url is given", metavar="N"),
    ] = OWN_FILES_MEGAPIXELS
    out: _Out = None
    fresh: _Fresh = False
    cache: Annotated[
        Path | None,
        Flag(
            "for unpacked archives",
            metavar="FOLDER",
            default="$XDG_CACHE_HOME/flipside, else ~/.cache/flipside",
        ),
    ] = None
    gates: Annotated[tuple[Gate, ...], _FAIL_ON, _NON_INFERIOR] = ()
    promote: Annotated[
        str | None,
        Flag(
            "move it to B if every gate passes",
            metavar="ALIAS",
            read=lambda text: text.removeprefix("@"),
        ),
    ] = None
    show: _Show = 0
    summary_md: _SummaryFile = None
    exports: _Exports = ()
    no_mlflow: _NoMlflow = False
    url: Annotated[
        str | None,
        Flag(
            "a running service",
            group=SERVICE,
            metavar="URL",
            default="the one on port 8000, else one is started",
        ),
    ] = None
    # A secret: without `repr`, no log shows it.
    key: _Key = field(default=None, repr=False)
    allow_missing: Annotated[int, Flag("images that may go unanswered", least=0)] = 0
    concurrency: Annotated[int, Flag("requests at once", least=1)] = 2
    batch_size: Annotated[int, Flag("images in a request", least=1, most=256)] = (
        BATCH_SIZE
    )
    patience: _Patience = 60.0

    def __post_init__(self) -> None:
        check_fields(self)
        check_max_megapixels(self.max_megapixels)
        _check_service(self.url, self.patience)
        if self.promote is not None:
            _check_alias(self.promote)
            _check_promotable(self.promote, self.b, self.gates)


@dataclass(frozen=True, kw_only=True)
class RedrawConfig:
    """A folder whose reports are drawn again, from the files in it."""

    folder: Annotated[
        Path,
        Flag(
            "draw its reports again, without a service; logs nothing",
            name="from",
            group=OTHERS,
            metavar="FOLDER",
        ),
    ]
    gates: Annotated[tuple[Gate, ...] | None, _FAIL_ON, _NON_INFERIOR] = None
    """None takes the gates of the comparison."""

    show: _Show = 0
    summary_md: _SummaryFile = None
    exports: _Exports = ()

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class MatrixConfig:
    """Versions that are compared pair by pair."""

    versions: Annotated[
        str,
        Flag(
            "all pairs: v1..v16, or v1,v4,v8",
            name="matrix",
            group=OTHERS,
            metavar="VERSIONS",
        ),
    ]
    model: _Model = None
    out: _Out = None
    no_mlflow: _NoMlflow = False


@dataclass(frozen=True, kw_only=True)
class ShadowConfig:
    """A service that keeps images on which its shadow version disagrees."""

    url: Annotated[
        str,
        Flag(
            "report of the images of users on which the shadow version of a service "
            "disagrees; logs nothing",
            name="shadow",
            group=OTHERS,
            metavar="URL",
        ),
    ]
    key: _Key = field(default=None, repr=False)
    patience: _Patience = 60.0
    out: _Out = None
    fresh: _Fresh = False
    show: _Show = 0
    summary_md: _SummaryFile = None
    exports: _Exports = ()

    def __post_init__(self) -> None:
        check_fields(self)
        _check_service(self.url, self.patience)


def _check_service(url: str | None, patience: float) -> None:
    """ValueError if one of the two is wrong."""
    if url is not None and not re.match(r"https?://[^/]", url):
        raise ValueError(f"url must begin with http:// or https://, got {url!r}")
    if not (math.isfinite(patience) and patience >= 0):
        raise ValueError(f"patience must be 0 or more, got {patience}")


def _check_promotable(alias: str, candidate: str, gates: Sequence[Gate]) -> None:
    """ValueError if the alias would move to an int8 form or without a gate."""
    if is_file_name(candidate):
        raise ValueError(
            f"--promote {alias} does not go with {candidate}: an alias names a version "
            "of the registry, and this is a file; leave --promote out"
        )
    if candidate.lower().endswith(INT8):
        raise ValueError(
            f"--promote {alias} does not go with {candidate}: an alias can "
            "name no int8 form; compare "
            f"{candidate[: -len(INT8)]}, or leave --promote out"
        )
    if not gates:
        raise ValueError(
            f"--promote {alias} needs a gate, as nothing else can stop it; "
            'add one, such as --non-inferior 0.005 or --fail-on "negative_flip_rate'
            '>0.06"'
        )


def _check_alias(alias: str) -> None:
    """ValueError if the name means a version, or if MLflow refuses it."""
    if alias.lower() == "latest" or re.fullmatch(r"[vV]?\d+", alias):
        raise ValueError(
            f"--promote {alias!r} names a version, not an alias; take a word, such as "
            "champion"
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]+", alias) or len(alias) > LONGEST_ALIAS:
        raise ValueError(
            f"--promote {alias[:40]!r} is no name for an alias; MLflow's are letters, "
            f"digits, _ and -, at most {LONGEST_ALIAS}"
        )
