"""What `python -m training` does: train and publish, measure or quantise a version."""

import gc
import logging
import os
import sys

from classifier.bundle import BrokenBundle, QuantisedBundle
from classifier.dataset import BadDataset
from classifier.plain_text import error_line, plain_handler, printable_lines
from classifier.registry import RETRIES_VARIABLE
from classifier.store import StoreUnavailable
from classifier.versions import UnknownModel, UnknownVersion
from training.config import Config, EvaluationConfig, QuantizeConfig, parse_arguments
from training.device import DeviceUnavailable
from training.disk import DiskTooSmall
from training.evaluation_report import print_evaluation
from training.export import ExportMismatch
from training.interruption import signals_interrupt
from training.launch import is_first_process
from training.preflight import NetworkUnfit, StoreInTheWay, TooManyProcesses
from training.resume import OtherFlags
from training.run_state import UnknownRun
from training.steps import TrainingDiverged
from training.train import train
from training.world import FirstProcessFailed, PeerLost

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
    # What is tried again is told by training/patience.py, once, and not at each try.
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
            from training.int8_form import quantise_version
            from training.quantization_report import print_quantisation

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
