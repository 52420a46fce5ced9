"""The settings of compare's five commands, each with its flag."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from classifier.console.flags import Flag, check_fields, not_empty
from classifier.images.decoding_cost import OWN_FILES_MEGAPIXELS, check_max_megapixels
from compare.collect.images import Shard
from compare.collect.local_service import BATCH_SIZE
from compare.collect.schema import is_file_name
from compare.config.values import (
    check_alias,
    check_promotable,
    check_service,
    margin_gate,
    read_export,
    read_key,
    read_shard,
    writable_file,
)
from compare.results.gates import Gate, parse_gate

SUBJECT, VERDICT, SERVICE, MANY, OTHERS = (
    "the comparison",
    "the verdict",
    "the service",
    "many images",
    "instead of --a and --b",
)


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
    read=margin_gate,
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
    Path | None, Flag("summary.md here as well", metavar="FILE", read=writable_file)
]
_Promote = Annotated[
    str | None,
    Flag(
        "move it to B if every gate passes",
        metavar="ALIAS",
        read=lambda text: text.removeprefix("@"),
    ),
]
_Exports = Annotated[
    tuple[tuple[str, Path], ...],
    Flag(
        "B's answers here (a=FILE: A's), .csv or .parquet, to be given as --a or --b",
        name="export",
        metavar="FILE",
        read=read_export,
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
    promote: _Promote = None
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
    shard: Annotated[
        Shard | None,
        Flag(
            "ask only for part I of N, numbered from 0; auto/N: part JOB_COMPLETION_"
            "INDEX, as pods of a Job have it; writes shard-I-of-N in --out, no report",
            group=MANY,
            metavar="I/N",
            default="all images",
            read=read_shard,
        ),
    ] = None
    engine: Annotated[
        Literal["http", "ray"],
        Flag(
            "http: a service answers; ray: the networks run in Ray Data, without a "
            "service, here or on the cluster of RAY_ADDRESS"
        ),
    ] = "http"

    def __post_init__(self) -> None:
        check_fields(self)
        check_max_megapixels(self.max_megapixels)
        check_service(self.url, self.patience)
        if self.promote is not None:
            check_alias(self.promote)
            check_promotable(self.promote, self.b, self.gates)
        if self.shard is not None:
            self._check_only_asks()
        if self.engine == "ray":
            self._check_needs_no_service()

    def _check_only_asks(self) -> None:
        """ValueError for what needs the answers to all images."""
        judged = {
            "--fail-on or --non-inferior": self.gates,
            "--promote": self.promote,
            "--show": self.show,
            "--summary-md": self.summary_md,
            "--export": self.exports,
        }
        if wrong := [flag for flag, value in judged.items() if value]:
            raise ValueError(
                f"--shard {self.shard} only asks, for a part of the images; give "
                f"{', '.join(wrong)} to --join, which has all of them"
            )

    def _check_needs_no_service(self) -> None:
        """ValueError for what --engine ray cannot ask, or does not ask."""
        if self.url is not None or self.key is not None:
            raise ValueError(
                "--engine ray runs the networks itself and asks no service; leave out "
                "--url and --key, or --engine"
            )
        if files := [name for name in (self.a, self.b) if is_file_name(name)]:
            raise ValueError(
                f"--engine ray runs versions of the registry, and {files[0]} is a "
                "file; leave --engine out"
            )


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
class JoinConfig:
    """Shards whose answers are made one comparison."""

    folders: Annotated[
        tuple[Path, ...],
        Flag(
            "make one comparison of all shards in these folders, without a service",
            name="join",
            group=OTHERS,
            metavar="FOLDER",
            read=Path,
            several=True,
        ),
    ]
    out: _Out = None
    fresh: _Fresh = False
    gates: Annotated[tuple[Gate, ...], _FAIL_ON, _NON_INFERIOR] = ()
    promote: _Promote = None
    show: _Show = 0
    summary_md: _SummaryFile = None
    exports: _Exports = ()
    no_mlflow: _NoMlflow = False
    allow_missing: Annotated[int, Flag("", least=0)] = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.promote is not None:
            check_alias(self.promote)
            check_promotable(self.promote, "", self.gates)


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
        check_service(self.url, self.patience)
