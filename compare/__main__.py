"""`python -m compare`: compare two versions, draw reports again, or draw a matrix.

compare/run.py has the story of a comparison. Each command imports its own modules:
MLflow's client takes a second or two. Drawing again does not need it, and a local
service can start meanwhile.
"""

import contextlib
import logging
import sys

from classifier.console.exits import INTERRUPTED, NotNow, report_failure
from classifier.console.text import plain_handler
from compare.collect.local_service import OwnService, early_service
from compare.config.command_line import Errand, parse_arguments
from compare.config.settings import (
    CompareConfig,
    JoinConfig,
    MatrixConfig,
    ShadowConfig,
)

VERDICT_CODES = {
    "pass": 0,
    "no_gate": 0,
    "fail": 1,
    "not_comparable": NotNow.exit_code,
}


def run(errand: Errand) -> int:
    """Run the command and return the exit code."""
    if isinstance(errand, MatrixConfig):
        from compare.matrix.matrix import draw_matrix

        return draw_matrix(
            errand.versions,
            model=errand.model,
            out=errand.out,
            is_logged=not errand.no_mlflow,
        )
    if isinstance(errand, JoinConfig):
        from compare.gathered.joining import join_shards

        return VERDICT_CODES[join_shards(errand).verdict.name]
    if isinstance(errand, CompareConfig):
        with _early_service(errand) as early:
            if errand.shard is not None:
                from compare.gathered.shards import ask_shard

                ask_shard(errand, early)
                return 0
            from compare.run import compare_versions

            return VERDICT_CODES[compare_versions(errand, early).verdict.name]
    if isinstance(errand, ShadowConfig):
        from compare.gathered.shadow import compare_shadow

        return VERDICT_CODES[compare_shadow(errand).verdict.name]
    from compare.report.draw import redraw

    return VERDICT_CODES[redraw(errand).verdict.name]


def _early_service(
    config: CompareConfig,
) -> contextlib.AbstractContextManager[OwnService | None]:
    if config.engine == "ray":
        return contextlib.nullcontext()
    return early_service(
        url=config.url,
        model=config.model,
        versions=(config.a, config.b),
        max_megapixels=config.max_megapixels,
    )


def main(arguments: list[str]) -> int:
    errand = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, handlers=[plain_handler("%(message)s")])
    try:
        return run(errand)
    except KeyboardInterrupt:
        print("interrupted; the same command continues from here", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        return report_failure(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
