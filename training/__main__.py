"""`python -m training`: train and publish versions; measure, quantise or import one."""

import logging
import os
import sys

from classifier.console.exits import INTERRUPTED, report_failure
from classifier.console.text import plain_handler, printable_lines
from training.config.commands import (
    Config,
    EvaluationConfig,
    ImportConfig,
    QuantizeConfig,
    parse_arguments,
)
from training.config.launch import is_first_process


def main(arguments: list[str]) -> int:
    """Run the command and return the exit code."""
    config = parse_arguments(arguments)
    handler = plain_handler("%(levelname)s %(message)s")
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # training/run/background.py logs a retry once; urllib3 would log each attempt.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # MLflow reads this from the environment alone. Its default of 7 retries takes
    # minutes without a message; the retries of training/run/background.py last longer.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    try:
        return _run(config, arguments)
    except KeyboardInterrupt as error:
        if is_first_process():
            message = str(error) or "interrupted before the run started"
            print(printable_lines(message), file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        return report_failure(error)


def _run(config: Config, arguments: list[str]) -> int:
    if isinstance(config, ImportConfig):
        # First, as a graph needs no torch.
        from training.publishing.importing import import_model

        import_model(config, arguments=arguments)
        return 0
    # Imported here: torch and MLflow take 4 s, and --help needs neither.
    from training.compute import FirstProcessFailed
    from training.run.resume import signals_interrupt
    from training.train import train

    with signals_interrupt():
        try:
            if isinstance(config, QuantizeConfig):
                from training.publishing.quantization import (
                    print_quantisation,
                    quantise_version,
                )

                print_quantisation(quantise_version(config, arguments=arguments))
            elif isinstance(config, EvaluationConfig):
                from training.evaluation.evaluate_version import print_evaluation

                print_evaluation(config)
            else:
                train(config, arguments=arguments)
        except FirstProcessFailed as error:
            return error.exit_code  # the first process prints the reason
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
