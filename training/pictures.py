"""All that `mlflow ui` shows of a run in pictures, and the tables behind them."""

from pathlib import Path

from classifier.labels import Labels
from training.churn_picture import churn_figure
from training.class_pictures import confused_pairs_figure, per_class_figure
from training.class_tables import (
    class_results,
    confused_pairs,
    write_confused_pairs,
    write_per_class,
)
from training.curve_pictures import epochs_figure, running_figure
from training.hardest_images import hardest_figure
from training.history import History
from training.image_cache import DecodedPart
from training.picture_style import save


def draw_pictures(
    history: History, folder: Path, *, labels: Labels, val: DecodedPart
) -> None:
    """Six pictures and two tables into `folder`; of the classes and the hardest images
    as the best epoch answers."""
    folder.mkdir(parents=True, exist_ok=True)
    best = history.best
    place = history.epochs.index(best)
    answers = history.first_answers[place]
    results = class_results(val.targets, answers)
    pairs = confused_pairs(val.targets, answers)
    write_per_class(folder / "per_class.csv", results, labels)
    write_confused_pairs(folder / "confused_pairs.csv", pairs, labels)
    figures = {
        "epochs": epochs_figure(history, has_top5=len(labels) > 5),
        "running": running_figure(history.epochs, has_top5=len(labels) > 5),
        "churn": churn_figure(history),
        "per_class": per_class_figure(results, labels, epoch=best.epoch),
        "confused_pairs": confused_pairs_figure(pairs, labels, epoch=best.epoch),
        "hardest_images": hardest_figure(
            val,
            labels=labels,
            first_answers=answers,
            target_probabilities=history.target_probabilities[place],
            epoch=best.epoch,
        ),
    }
    for name, figure in figures.items():
        save(figure, folder / f"{name}.png")
