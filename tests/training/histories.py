"""Histories of runs whose story is known, for the tests of what is said of them."""

from collections.abc import Sequence

from training.evaluation.calibration import Calibration
from training.evaluation.epoch import EpochRecord, History, RunningPoint, TrainingPass
from training.evaluation.evaluate import Metrics


def epoch_record(
    epoch: int,
    *,
    train_top1: float,
    val_top1: float,
    val_loss: float,
    running: Sequence[float] = (),
    lr: float = 0.1,
    calibration: Calibration | None = None,
) -> EpochRecord:
    """`running` are the averages before the last, which is half of `train_top1`.

    The fixed sample of the training images is right on `train_top1`: the average over
    an epoch lags behind.
    """
    curve = [*running, train_top1 / 2]
    points = tuple(
        RunningPoint(
            step=epoch * 100 + place,
            seen=(place + 1) / len(curve),
            metrics=Metrics(loss=1.0, top1_accuracy=top1, top5_accuracy=0.9),
        )
        for place, top1 in enumerate(curve)
    )
    return EpochRecord(
        epoch=epoch,
        training=TrainingPass(points, lr=lr, images_per_second=100.0),
        val=Metrics(loss=val_loss, top1_accuracy=val_top1, top5_accuracy=0.6),
        train_subset=Metrics(loss=0.5, top1_accuracy=train_top1, top5_accuracy=0.95),
        calibration=calibration
        or Calibration(error=0.02, temperature=1.1, cross_fitted_error=0.01),
    )


def seed_report() -> History:
    """The seed report's 16 epochs in outline: it called this underfit."""
    records = []
    for epoch in range(1, 17):
        train_top1 = min(0.99, 0.05 + 0.075 * epoch)
        falling = [train_top1 / 2 + 0.02 - 0.0025 * place for place in range(8)]
        records.append(
            epoch_record(
                epoch,
                train_top1=train_top1,
                val_top1=_SEED_TOP1.get(epoch, 0.34),
                val_loss=3.0 + (0.05 * (7 - epoch) if epoch < 7 else 0.2 * (epoch - 7)),
                running=falling,
                calibration=Calibration(
                    error=0.01 * epoch,
                    temperature=1 + 0.05 * epoch,
                    cross_fitted_error=0.01,
                ),
            )
        )
    return History(records)


_SEED_TOP1 = {1: 0.08, 2: 0.16, 3: 0.24, 4: 0.30, 5: 0.33, 6: 0.342, 8: 0.3453}
