"""What is said of curves, on curves whose story is known."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.training.histories import epoch_record, seed_report
from training.evaluation.calibration import Calibration
from training.evaluation.epoch import History, RunningPoint, TrainingPass
from training.evaluation.evaluate import Metrics
from training.recipes import RECIPES
from training.reports import diagnosis
from training.reports.diagnosis import Sample

TINY_IMAGENET = Sample(images=2500, classes=200, chance=0.005)
FIVE = Sample(images=200, classes=5, chance=0.2)
CHANCE = Metrics(loss=1.7, top1_accuracy=0.2, top5_accuracy=1.0)


def diagnose(
    history: History, *, recipe: str, val_images: int, sample: Sample = TINY_IMAGENET
) -> str:
    return diagnosis.diagnose(
        history, recipe=recipe, val_images=val_images, sample=sample
    )


def _losses(losses: Sequence[float], *, train: float, val: float) -> History:
    return History(
        [
            epoch_record(epoch, train_top1=train, val_top1=val, val_loss=loss)
            for epoch, loss in enumerate(losses, start=1)
        ]
    )


def test_the_seed_reports_run_overfits_from_epoch_8_on() -> None:
    text = diagnose(seed_report(), recipe="plain", val_images=10_000)

    assert "It overfits since epoch 8" in text
    assert "+60% at the end, while it memorises the training images" in text
    assert "Least validation loss: epoch 7" in text
    assert "Best top-1: epoch 8, 34.53 %" in text
    assert "which chance can explain with 10,000 images" in text
    assert "does not overfit" not in text
    assert "underfit" not in text


def test_accuracy_that_falls_within_the_late_epochs_is_measured_in_points() -> None:
    text = diagnose(seed_report(), recipe="plain", val_images=10_000)

    assert "Within epochs 12 to 16 the running top-1 accuracy in training falls" in text
    assert "falls, by 2.25 points an epoch" in text
    assert "down in 5 of 5" in text
    assert "A learning rate that falls towards the end usually prevents that" in text


def test_a_rate_that_did_fall_is_not_advised() -> None:
    falling = [0.50, 0.49, 0.48, 0.47, 0.46]
    history = History(
        [
            epoch_record(
                epoch,
                train_top1=0.9,
                val_top1=0.4,
                val_loss=3.0,
                running=falling,
                lr=1 / epoch,
            )
            for epoch in range(1, 7)
        ]
    )

    text = diagnose(history, recipe="strong", val_images=10_000)

    assert "in training falls" in text
    assert "usually prevents that" not in text


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_recipe_has_advice_against_overfitting(recipe: str) -> None:
    text = diagnose(
        _losses((1.0, 1.2, 1.3), train=0.99, val=0.7), recipe=recipe, val_images=1000
    )

    assert "It overfits since epoch 2" in text
    assert "fewer epochs would." in text


def test_the_gap_is_taken_from_images_measured_alike() -> None:
    """The average over the epoch, here half as high, would hide it."""
    text = diagnose(
        _losses((3.0, 3.3, 3.4), train=0.60, val=0.31), recipe="plain", val_images=100
    )

    assert "memorises the training images (at the end it gets 60.00 %" in text
    assert "The average in training, 30.00 %, is taken while the weights move" in text


def test_by_heart_is_said_only_where_training_accuracy_runs_ahead() -> None:
    text = diagnose(
        _losses((3.0, 3.3, 3.4), train=0.32, val=0.31), recipe="plain", val_images=100
    )

    assert "It overfits since epoch 2" in text
    assert "memorises" not in text


def test_a_run_that_still_learns_is_told_to_go_on() -> None:
    history = History(
        [
            epoch_record(e, train_top1=0.1 * e, val_top1=0.1 * e, val_loss=5 - 0.3 * e)
            for e in range(1, 5)
        ]
    )

    text = diagnose(history, recipe="plain", val_images=10_000)

    assert "It does not overfit, and is still learning" in text
    assert "That is the last one: more epochs may give more" in text
    assert "too few steps an epoch" in text


def test_a_passing_rise_of_the_loss_is_no_overfitting() -> None:
    text = diagnose(
        _losses((3.0, 3.5, 2.9, 2.95), train=0.4, val=0.35),
        recipe="plain",
        val_images=100,
    )

    assert "It does not overfit" in text


def test_accuracy_that_still_rose_after_the_loss_did_is_told_apart() -> None:
    history = _losses((3.0, 3.3, 3.4), train=0.6, val=0.3)
    history.epochs.append(epoch_record(4, train_top1=0.7, val_top1=0.35, val_loss=3.5))

    text = diagnose(history, recipe="plain", val_images=10_000)

    assert "It overfits since epoch 2" in text
    assert "Accuracy was best later, at epoch 4" in text


def test_the_choice_of_the_best_epoch_has_a_size() -> None:
    text = diagnose(seed_report(), recipe="strong", val_images=10_000)

    assert "chosen on the very images it is judged on" in text
    assert "at most 0.84 points for the best of 16 epochs on 10,000 images" in text
    assert "one standard error of it (0.48 points) is epoch 6, 34.20 %" in text
    assert "--recipe strong" not in text  # that is what was run


def test_confidence_is_set_beside_accuracy() -> None:
    text = diagnose(seed_report(), recipe="plain", val_images=10_000)

    assert "Confidence at epoch 8 is 8.00 points away from accuracy" in text
    assert "over-confident: logits divided by 1.40 fit best" in text
    assert "leaves 1.00 points on images it was not fitted on" in text
    assert "By the last epoch it is 16.00 points" in text


def test_a_temperature_that_would_not_help_is_not_praised() -> None:
    calibration = Calibration(error=0.05, temperature=0.9, cross_fitted_error=0.06)
    record = epoch_record(
        1, train_top1=0.5, val_top1=0.5, val_loss=1.0, calibration=calibration
    )

    text = diagnose(History([record]), recipe="plain", val_images=10)

    assert "no temperature reduces it" in text
    assert "under-confident" not in text


def test_a_run_of_one_epoch_has_a_diagnosis() -> None:
    text = diagnose(_losses((1.0,), train=0.5, val=0.5), recipe="plain", val_images=10)

    assert "Within epoch 1" in text
    assert "There was one epoch" in text


def test_a_loss_of_zero_is_no_division_by_it() -> None:
    text = diagnose(
        _losses((0.0, 0.0, 0.5), train=1.0, val=1.0), recipe="plain", val_images=10
    )

    assert "It overfits since epoch 3" in text


def test_a_run_that_knows_its_images_by_heart_is_not_called_sound() -> None:
    history = History(
        [
            epoch_record(e, train_top1=0.99, val_top1=0.6 + 0.01 * e, val_loss=1.0)
            for e in (1, 2, 3)
        ]
    )

    text = diagnose(history, recipe="plain", val_images=1000)

    assert "memorises the training images (at the end it gets 99.00 %" in text
    assert "does not overfit" not in text


def _run_of(
    *, losses: Sequence[float], running: Sequence[float], measured: Sequence[float]
) -> History:
    """Training loss and running top-1 of each epoch, and top-1 of the same images
    measured after it; a step an epoch, as with 200 images in a batch of 256."""
    records = []
    for epoch, (loss, top1, of_sample) in enumerate(
        zip(losses, running, measured, strict=True), start=1
    ):
        record = epoch_record(
            epoch, train_top1=of_sample, val_top1=of_sample, val_loss=loss + 0.1
        )
        point = RunningPoint(
            step=epoch,
            seen=1.0,
            metrics=Metrics(loss=loss, top1_accuracy=top1, top5_accuracy=1.0),
        )
        training = TrainingPass((point,), lr=0.2, images_per_second=100.0)
        records.append(replace(record, training=training))
    return History(records)


def test_a_run_that_stays_at_chance_is_not_learning() -> None:
    history = _run_of(
        losses=[1.68, 1.64, 1.70, 1.66],
        running=[0.19, 0.2, 0.21, 0.235],
        measured=[0.2] * 4,
    )

    text = diagnose(history, recipe="strong", val_images=50, sample=FIVE)

    assert "It is not learning: at the end it gets 20.00 % of the training" in text
    assert "always naming the commonest of 5 classes would get 20.00 %" in text
    assert "the training loss is 1.66, and that of a guess 1.609" in text
    assert "Steps were few, 4 in all" in text
    assert "overfits" not in text
    assert "regularisation" not in text
    assert "more epochs may give more" not in text


def test_a_wild_measured_loss_beside_a_tame_one_in_training_is_said() -> None:
    """The run of issue 13: 5 x 40 images, one step an epoch."""
    history = _run_of(losses=[1.7] * 4, running=[0.2] * 4, measured=[0.2] * 4)
    last = history.epochs[-1]
    wild = replace(last.train_subset, loss=566.7)
    history.epochs[-1] = replace(last, train_subset=wild)

    text = diagnose(history, recipe="strong", val_images=50, sample=FIVE)

    assert "It is not learning" in text
    assert "Measured, their loss is 566.7: batch norm's statistics are not" in text


def test_images_that_are_right_in_training_and_wrong_when_measured() -> None:
    history = _run_of(
        losses=[1.6, 1.2, 0.9, 0.6],
        running=[0.2, 0.5, 0.7, 0.85],
        measured=[0.2, 0.2, 0.2, 0.25],
    )

    text = diagnose(history, recipe="strong", val_images=50, sample=FIVE)

    assert "Its statistics are not settled: in training 85.00 % of the images" in text
    assert "25.00 % when training images were measured after it, 60.00 points" in text
    assert "4 steps of 4 epochs" in text
    assert "overfits" not in text
    assert "not learning" not in text


@pytest.mark.parametrize(
    ("losses", "measured", "words"),
    [
        (
            (1.5, 1.2, 9.0, 25.0),
            (0.3, 0.5, 0.2, 0.2),
            "training loss is 25 in the last",
        ),
        ((1.5, 0.6, 1.8, 2.0), (0.3, 0.8, 0.4, 0.3), "its least was 0.6, and a guess"),
        ((1.5, 1.0, 1.6, 1.6), (0.3, 0.6, 0.2, 0.2), "60.00 % of the training images"),
        ((8.0,), (0.2,), "training loss is 8 in the last epoch"),
    ],
)
def test_a_run_that_loses_what_it_had_diverged(
    losses: Sequence[float], measured: Sequence[float], words: str
) -> None:
    history = _run_of(losses=losses, running=measured, measured=measured)

    text = diagnose(history, recipe="plain", val_images=50, sample=FIVE)

    assert "It diverged: " in text
    assert words in text
    assert "Try a lower --lr, here 0.2" in text
    assert "overfits" not in text


def test_a_slow_run_whose_sample_wavers_about_chance_has_not_diverged() -> None:
    """26.5 % and 23 % of 200 images are three and one standard error above chance."""
    history = _run_of(
        losses=[1.616, 1.61, 1.606, 1.603],
        running=[0.19, 0.2, 0.25, 0.25],
        measured=[0.2, 0.265, 0.25, 0.23],
    )

    text = diagnose(history, recipe="strong", val_images=100, sample=FIVE)

    assert "It is not learning" in text
    assert "Try a lower and a higher --lr (here 0.2)" in text
    assert "diverged" not in text


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (20, "few, 20 in all: train more epochs."),
        (
            19,
            "train more epochs, or smaller batches (--batch-size auto).",
        ),
    ],
)
def test_smaller_batches_are_advised_where_auto_gives_them(
    step: int, words: str
) -> None:
    record = epoch_record(1, train_top1=0.2, val_top1=0.2, val_loss=1.7)
    point = RunningPoint(step, 1.0, CHANCE)
    training = TrainingPass((point,), lr=0.2, images_per_second=100.0)

    history = History([replace(record, training=training)])
    text = diagnose(history, recipe="strong", val_images=100, sample=FIVE)

    assert words in text


def test_a_high_loss_that_falls_is_no_divergence() -> None:
    history = _run_of(
        losses=[9.0, 6.0, 4.0], running=[0.3, 0.35, 0.4], measured=[0.3, 0.35, 0.4]
    )

    text = diagnose(history, recipe="plain", val_images=50, sample=FIVE)

    assert "diverged" not in text
    assert "is still learning" in text


def test_a_run_that_still_rises_is_told_so_though_training_images_run_ahead() -> None:
    history = History(
        [
            epoch_record(
                e,
                train_top1=0.2 + 0.1 * e,
                val_top1=0.2 + 0.05 * e,
                val_loss=2 - 0.1 * e,
            )
            for e in range(1, 7)
        ]
    )

    text = diagnose(history, recipe="strong", val_images=100, sample=FIVE)

    assert "It is still learning: validation loss was least at the end" in text
    assert "fell by 7% in the last quarter of the epochs" in text
    assert "80.00 % of the training images right and 50.00 % of the others" in text


def test_top_5_is_said_only_of_more_than_five_classes() -> None:
    history = _losses((3.0, 2.9), train=0.5, val=0.45)

    few = diagnose(history, recipe="plain", val_images=100, sample=FIVE)
    many = diagnose(history, recipe="plain", val_images=100)

    assert "top-5" not in few
    assert "45.00 % top-1 and 60.00 % top-5 on validation" in many
