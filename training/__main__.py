"""`python -m training`: train and publish, or measure a version."""

import logging
import sys

from classifier.bundle import BrokenBundle
from classifier.dataset import BadDataset
from classifier.registry import StoreUnavailable, UnknownModel
from classifier.versions import UnknownVersion
from training.config import TrainingConfig, parse_arguments
from training.device import DeviceUnavailable
from training.evaluation_report import print_evaluation
from training.export import ExportMismatch
from training.steps import TrainingDiverged
from training.train import train

WRONG_USAGE, NOT_NOW, OUR_FAULT, INTERRUPTED = 2, 3, 4, 130

EXIT_CODES: dict[type[BaseException], int] = {
    BadDataset: WRONG_USAGE,
    UnknownModel: WRONG_USAGE,
    UnknownVersion: WRONG_USAGE,
    TrainingDiverged: NOT_NOW,
    StoreUnavailable: NOT_NOW,
    DeviceUnavailable: NOT_NOW,
    BrokenBundle: NOT_NOW,
    OSError: NOT_NOW,  # the disk is full or not writable
    ExportMismatch: OUR_FAULT,
}


def main(arguments: list[str]) -> int:
    config = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        if isinstance(config, TrainingConfig):
            train(config, arguments=arguments)
        else:
            print_evaluation(config)
    except KeyboardInterrupt:
        print("interrupted; the versions published so far are whole", file=sys.stderr)
        return INTERRUPTED
    except tuple(EXIT_CODES) as error:
        print(f"error: {error}", file=sys.stderr)
        return next(
            code for kind, code in EXIT_CODES.items() if isinstance(error, kind)
        )
    except Exception:
        logging.getLogger(__name__).exception("a fault of flipside's")
        return OUR_FAULT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
