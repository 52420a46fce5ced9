"""`--quantize`: what a version and its int8 form are worth, printed side by side."""

from classifier.plain_text import printable
from training.evaluate import Metrics
from training.int8_form import Quantisation


def print_quantisation(quantisation: Quantisation) -> None:
    print("\n".join(map(printable, report_lines(quantisation))), flush=True)


def report_lines(quantisation: Quantisation) -> list[str]:
    version, name = quantisation.version, f"v{quantisation.version.number}"
    columns = []
    for form in (quantisation.fp32, quantisation.int8):
        columns.append(
            (
                *_accuracies(form.metrics),
                f"{form.images_per_second:,.0f}",
                f"{form.megabytes:.1f}",
            )
        )
    rows = list(
        zip(("top-1", "top-5", "loss", "images/s", "size in MB"), *columns, strict=True)
    )
    if quantisation.classes <= 5:  # of five, the truth is always among five
        del rows[1]
    return [
        f"{version.model}: {name} in int8, calibrated on "
        f"{quantisation.calibration_images:,} training images",
        "",
        f"{'':12}{'fp32':>10}{'int8':>10}",
        *(f"{row[0]:12}{row[1]:>10}{row[2]:>10}" for row in rows),
        "",
        f"The first answers agree on {100 * quantisation.agreement:.2f} % of "
        f"{quantisation.validation_images:,} validation images.",
        f"Ask for it as {name}.int8: python -m compare --model {version.model} "
        f"--a {name} --b {name}.int8",
    ]


def _accuracies(metrics: Metrics | None) -> tuple[str, str, str]:
    """Top-1, top-5 and loss; a dash each where they are not known."""
    if metrics is None:
        return "\N{EN DASH}", "\N{EN DASH}", "\N{EN DASH}"
    return (
        f"{100 * metrics.top1_accuracy:.2f} %",
        f"{100 * metrics.top5_accuracy:.2f} %",
        f"{metrics.loss:.4f}",
    )
