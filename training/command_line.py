"""The flags of `python -m training`."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from training.recipes import FULL_BATCH, LEAST_STEPS, RECIPES

ARCHITECTURES, STEMS = ("resnet18", "tiny"), ("imagenet", "small")
"""classifier.networks's. A copy, as that imports torch in 2 s; a test compares them."""


def new_parser(defaults: Mapping[str, object]) -> argparse.ArgumentParser:
    """`defaults` of what may be left out, for --help."""
    parser = argparse.ArgumentParser(
        prog="python -m training",
        usage=_USAGE,
        description="Train an image classifier; every epoch becomes a version.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # Only what was typed is handed on: the defaults are TrainingConfig's.
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    _add_errands(parser.add_argument_group("instead of a new run"))
    _add_data(parser.add_argument_group("data"))
    _add_network(parser.add_argument_group("network"), defaults)
    _add_optimisation(parser.add_argument_group("optimisation"), defaults)
    _add_machine(parser.add_argument_group("machine"), defaults)
    _add_mlflow(parser.add_argument_group("MLflow"))
    return parser


_USAGE = """python -m training --data PATH|digits [flags]
       python -m training --resume RUN_ID|last
       python -m training --evaluate VERSION --data PATH|digits
       python -m training --quantize VERSION --data PATH|digits"""

_EPILOG = """examples:
  python -m training --data digits
  python -m training --data tiny-imagenet-200.zip --epochs 16
  python -m training --data my-images --recipe plain --stem small --per-class 100
  python -m training --resume last
  python -m training --evaluate v8 --data tiny-imagenet-200
  torchrun --nproc-per-node 2 -m training --data tiny-imagenet-200

exit codes: 0 done, 2 wrong usage or bad data, 3 not now (store, disk, device, a loss
that is no number), 4 a fault of ours, 130 interrupted"""


def _add_errands(group: argparse._ArgumentGroup) -> None:
    add = group.add_mutually_exclusive_group().add_argument
    add(
        "--resume",
        metavar="RUN_ID|last",
        default=None,
        help="go on with a run that was stopped; its flags are its own",
    )
    add(
        "--evaluate",
        metavar="VERSION",
        default=None,
        help="measure a version (v8, best, latest) on the validation images",
    )
    add(
        "--quantize",
        metavar="VERSION",
        default=None,
        help="make the int8 form of a version; ask for it as v8.int8",
    )


def _add_data(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--data",
        metavar="PATH|digits",
        help="tiny-imagenet-200, a folder of train/<class>/* and val/<class>/*, an "
        "archive of either, or digits",
    )
    add(
        "--per-class",
        type=int,
        metavar="N",
        help="train on the first N images of each class (default: all)",
    )
    add(
        "--skip-broken",
        action="store_true",
        help="leave out images that do not decode (default: refuse them)",
    )
    add(
        "--max-megapixels",
        type=float,
        metavar="N",
        help="larger images do not decode (default: 100)",
    )
    add(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="for unpacked archives and decoded images (default: "
        "$XDG_CACHE_HOME/flipside, else ~/.cache/flipside)",
    )


def _add_network(
    group: argparse._ArgumentGroup, defaults: Mapping[str, object]
) -> None:
    add = group.add_argument
    add(
        "--arch",
        choices=ARCHITECTURES,
        help=f"the network (default: {defaults['arch']})",
    )
    add(
        "--stem",
        choices=STEMS,
        help="imagenet: 7x7, stride 2, max-pool; small: 3x3, stride 1, no pooling "
        f"(default: {defaults['stem']})",
    )
    add(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="height and width that the network sees "
        f"(default: {defaults['image_size']})",
    )


def _add_optimisation(
    group: argparse._ArgumentGroup, defaults: Mapping[str, object]
) -> None:
    add = group.add_argument
    add(
        "--epochs",
        type=int,
        metavar="N",
        help=f"passes over the training images (default: {defaults['epochs']})",
    )
    add(
        "--recipe",
        choices=tuple(RECIPES),
        help="strong: crop, mirror, label smoothing, a rate that rises and falls, "
        "averaged weights; plain: none of it "
        f"(default: {defaults['recipe']})",
    )
    add(
        "--batch-size",
        type=_number_or_auto,
        metavar="N|auto",
        help=f"images in a step; auto: {FULL_BATCH}, or less where an epoch would have "
        f"under {LEAST_STEPS} steps (default: {defaults['batch_size']})",
    )
    rates = ", ".join(f"{recipe.lr:g} for {name}" for name, recipe in RECIPES.items())
    add(
        "--lr",
        type=float,
        metavar="RATE",
        help=f"highest learning rate (default: the recipe's, {rates} with batches of "
        f"{FULL_BATCH}, and in proportion with others)",
    )
    add(
        "--seed",
        type=int,
        metavar="N",
        help=f"of all that is drawn (default: {defaults['seed']})",
    )


def _add_machine(
    group: argparse._ArgumentGroup, defaults: Mapping[str, object]
) -> None:
    add = group.add_argument
    add(
        "--device",
        choices=("auto", "cpu", "cuda"),
        help=f"auto: a GPU where one is usable (default: {defaults['device']})",
    )
    add(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        help="of the training steps; auto: bf16 where the hardware has it "
        f"(default: {defaults['precision']})",
    )
    add(
        "--compile",
        choices=("auto", "on", "off"),
        help="compile the training steps; auto: on a GPU, for long runs "
        f"(default: {defaults['compile']})",
    )


def _add_mlflow(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--model",
        metavar="NAME",
        help="registered model (default: <dataset>-<arch>; with --evaluate and "
        "--quantize the only one there is)",
    )
    add(
        "--experiment",
        metavar="NAME",
        help="where the run is listed (default: the data set's name)",
    )


def _number_or_auto(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number nor auto"
        ) from error
