"""What the curves say, on curves whose story is known."""

from collections.abc import Sequence

from training.diagnosis import diagnose, fall_within_epoch, overfit_since
from training.evaluate import Metrics
from training.history import EpochRecord, History, RunningPoint, TrainingPass


def _record(
    epoch: int,
    *,
    train_top1: float,
    val_top1: float,
    val_loss: float,
    running: Sequence[float] = (),
) -> EpochRecord:
    curve = [*running, train_top1]
    points = tuple(
        RunningPoint(
            step=epoch * 100 + place,
            seen=(place + 1) / len(curve),
            metrics=Metrics(loss=1.0, top1_accuracy=top1, top5_accuracy=0.9),
        )
        for place, top1 in enumerate(curve)
    )
    return EpochRecord(
        epoch,
        TrainingPass(points, lr=0.1, images_per_second=100.0),
        Metrics(loss=val_loss, top1_accuracy=val_top1, top5_accuracy=0.6),
    )


# The seed report's 16 epochs in outline: it called this underfit.
SEED_REPORT = History(
    [
        _record(
            epoch,
            train_top1=min(0.99, 0.05 + 0.075 * epoch),
            val_top1=0.345 - 0.01 * abs(epoch - 8) / 8 if epoch > 4 else 0.08 * epoch,
            val_loss=3.0 + 0.05 * (7 - epoch)
            if epoch <= 7
            else 3.0 + 0.2 * (epoch - 7),
            running=[min(1.0, 0.1 + 0.075 * epoch)] * 7,
        )
        for epoch in range(1, 17)
    ]
)


def test_the_seed_reports_run_overfits_from_epoch_8_on() -> None:
    assert SEED_REPORT.best_loss.epoch == 7
    assert overfit_since(SEED_REPORT) == 8

    text = diagnose(SEED_REPORT, recipe="plain", val_images=10_000)

    assert "It overfits since epoch 8" in text
    assert "Least validation loss: epoch 7" in text
    assert "Best top-1: epoch 8, 34.50 %" in text
    assert "no more than 10,000 images leave to chance" in text
    assert "does not overfit" not in text


def test_accuracy_that_falls_within_the_late_epochs_is_measured() -> None:
    last = SEED_REPORT.epochs[-1]
    fall = fall_within_epoch(last)

    assert fall is not None
    assert fall > 0
    text = diagnose(SEED_REPORT, recipe="plain", val_images=10_000)
    assert "the running top-1 accuracy in training falls" in text


def test_a_run_that_still_learns_is_told_to_go_on() -> None:
    history = History(
        [
            _record(e, train_top1=0.1 * e, val_top1=0.1 * e, val_loss=5 - 0.3 * e)
            for e in range(1, 5)
        ]
    )

    text = diagnose(history, recipe="plain", val_images=10_000)

    assert "It does not overfit, and is still learning" in text
    assert "That is the last one: more epochs may give more" in text
    assert "too few steps an epoch" in text


def test_a_passing_rise_of_the_loss_is_no_overfitting() -> None:
    losses = (3.0, 3.5, 2.9, 2.95)
    history = History(
        [
            _record(e, train_top1=0.4, val_top1=0.35, val_loss=loss)
            for e, loss in enumerate(losses, start=1)
        ]
    )

    assert overfit_since(history) is None
    assert "It does not overfit" in diagnose(history, recipe="plain", val_images=100)


def test_the_earliest_of_equally_good_epochs_is_the_best() -> None:
    history = History(
        [_record(e, train_top1=0.5, val_top1=0.5, val_loss=1.0) for e in (1, 2, 3)]
    )

    assert history.best.epoch == history.best_loss.epoch == 1


def test_a_run_of_one_epoch_has_a_diagnosis() -> None:
    history = History([_record(1, train_top1=0.5, val_top1=0.5, val_loss=1.0)])

    assert "Within epoch 1" in diagnose(history, recipe="plain", val_images=10)


def test_it_says_that_the_best_was_chosen_on_the_images_it_is_judged_on() -> None:
    text = diagnose(SEED_REPORT, recipe="strong", val_images=10_000)

    assert "chosen on the very images it is judged on" in text
    assert "--recipe strong" not in text  # that is what was run


def test_by_heart_is_said_only_where_training_accuracy_runs_ahead() -> None:
    losses = (3.0, 3.3, 3.4)
    history = History(
        [
            _record(e, train_top1=0.30, val_top1=0.31, val_loss=loss)
            for e, loss in enumerate(losses, start=1)
        ]
    )

    text = diagnose(history, recipe="plain", val_images=100)

    assert "It overfits since epoch 2" in text
    assert "by heart" not in text
