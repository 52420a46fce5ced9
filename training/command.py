"""What `python -m training` does: train and publish, measure or quantise a version."""

import gc
import logging
import os
import sys

from classifier.console import (
    INTERRUPTED,
    plain_handler,
    printable_lines,
    report_failure,
)
from classifier.store.registry import RETRIES_VARIABLE
from training.compute import FirstProcessFailed
from training.config import Config, EvaluationConfig, QuantizeConfig, parse_arguments
from training.evaluation.evaluate_version import print_evaluation
from training.launch import is_first_process
from training.run.resume import signals_interrupt
from training.train import train


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
    except FirstProcessFailed as error:  # it says why
        return error.exit_code
    except Exception as error:
        return report_failure(error)
    return 0
