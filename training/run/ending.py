"""The end of a run before its last epoch: nothing improves, or its time is over."""

import time
from collections.abc import Sequence

from classifier.hardware import process_started_at
from training.config.settings import TrainingConfig
from training.evaluation.evaluate import Predictions
from training.reports.curves import epochs_without_improvement


class Ending:
    """Decides after each epoch whether it was the last one."""

    def __init__(
        self, config: TrainingConfig, *, accuracies: Sequence[float], epochs_before: int
    ) -> None:
        """`accuracies` are the validation accuracies of the epochs that count so far.

        `epochs_before` of the run do not count.
        """
        self._config = config
        self._accuracies = list(accuracies)
        self._epochs_before = epochs_before

    def after(self, predictions: Predictions) -> str | None:
        """Why the run ends after the epoch with these validation answers, or None."""
        self._accuracies.append(predictions.metrics.top1_accuracy)
        return self.stalled(images=len(predictions.targets)) or self._over()

    def stalled(self, *, images: int) -> str | None:
        """Why a run of the epochs so far ends for lack of improvement, or None."""
        most = self._config.stop_after
        if most is None or self._is_last:
            return None
        since = epochs_without_improvement(self._accuracies, images=images)
        if since < most:
            return None
        return (
            f"ended after epoch {self._epoch} of {self._config.epochs}: no validation "
            f"accuracy of the last {since} is better than before by more than its "
            f"standard error on {images:,} images (--stop-after {most})"
        )

    def _over(self) -> str | None:
        minutes = self._config.minutes
        spent = time.time() - process_started_at()
        if minutes is None or spent < 60 * minutes or self._is_last:
            return None
        return (
            f"ended after epoch {self._epoch} of {self._config.epochs}, as "
            f"{minutes:g} minutes are over; in a run of --epochs {self._epoch} the "
            f"learning rate follows its whole course in that time"
        )

    @property
    def epochs(self) -> int:
        """Epochs of the whole run, if it does not end early."""
        return self._config.epochs

    @property
    def _epoch(self) -> int:
        return self._epochs_before + len(self._accuracies)

    @property
    def _is_last(self) -> bool:
        return self._epoch >= self._config.epochs
