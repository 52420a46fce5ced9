"""What `python -m training` does: train and publish, measure or quantise a version."""

import gc
import logging
import os
import sys

from classifier.bundle.files import BrokenBundle, QuantisedBundle
from classifier.console import error_line, plain_handler, printable_lines
from classifier.datasets.dataset import BadDataset
from classifier.storage import DiskTooSmall
from classifier.store.location import StoreUnavailable
from classifier.store.registry import RETRIES_VARIABLE
from classifier.store.versions import UnknownModel, UnknownVersion
from training.compute import DeviceUnavailable, FirstProcessFailed, PeerLost
from training.config import Config, EvaluationConfig, QuantizeConfig, parse_arguments
from training.evaluation.evaluate_version import print_evaluation
from training.launch import is_first_process
from training.optimization.trainer import TrainingDiverged
from training.publishing.export import ExportMismatch
from training.run.preflight import NetworkUnfit, StoreInTheWay, TooManyProcesses
from training.run.resume import OtherFlags, signals_interrupt
from training.run.state import UnknownRun
from training.train import train

WRONG_USAGE, NOT_NOW, OUR_FAULT, INTERRUPTED = 2, 3, 4, 130

EXIT_CODES: dict[type[BaseException], int] = {
    BadDataset: WRONG_USAGE,
    QuantisedBundle: WRONG_USAGE,
    UnknownModel: WRONG_USAGE,
    UnknownVersion: WRONG_USAGE,
    UnknownRun: WRONG_USAGE,
    OtherFlags: WRONG_USAGE,
    TooManyProcesses: WRONG_USAGE,
    TrainingDiverged: NOT_NOW,
    PeerLost: NOT_NOW,
    StoreUnavailable: NOT_NOW,
    StoreInTheWay: NOT_NOW,
    DiskTooSmall: NOT_NOW,
    DeviceUnavailable: NOT_NOW,
    BrokenBundle: NOT_NOW,
    OSError: NOT_NOW,  # the disk is full or not writable
    ExportMismatch: OUR_FAULT,
    NetworkUnfit: OUR_FAULT,
}


def main(arguments: list[str]) -> int:
    return run(parse_arguments(arguments), arguments)


def run(config: Config, arguments: list[str]) -> int:
    """The exit code; `config` is what `arguments` ask for."""
    handler = plain_handler("%(levelname)s %(message)s")
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # training/run/background.py tells of what is tried again, once, not at each try.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # MLflow's own 7 take minutes, in which nothing could be told; ours go on longer.
    os.environ.setdefault(RETRIES_VARIABLE, "3")
    # What was imported stays: looking through it again and again cost a start 0.3 s.
    gc.freeze()
    with signals_interrupt():
        return _run(config, arguments)


def _run(config: Config, arguments: list[str]) -> int:
    try:
        if isinstance(config, QuantizeConfig):
            # 0.1 s to import, most of it ONNX's.
            from training.publishing.quantization import (
                print_quantisation,
                quantise_version,
            )

            print_quantisation(quantise_version(config, arguments=arguments))
        elif isinstance(config, EvaluationConfig):
            print_evaluation(config)
        else:
            train(config, arguments=arguments)
    except KeyboardInterrupt as error:
        if is_first_process():
            said = str(error) or "interrupted; nothing was begun"
            print(printable_lines(said), file=sys.stderr)
        return INTERRUPTED
    except FirstProcessFailed:
        return NOT_NOW
    except tuple(EXIT_CODES) as error:
        notes = getattr(error, "__notes__", [])
        print(error_line("; ".join([str(error), *notes])), file=sys.stderr)
        return next(
            code for kind, code in EXIT_CODES.items() if isinstance(error, kind)
        )
    except Exception:
        logging.getLogger(__name__).exception("a fault of flipside's")
        return OUR_FAULT
    return 0
