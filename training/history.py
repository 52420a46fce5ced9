"""What a run measured, epoch by epoch."""

from dataclasses import dataclass, field

from training.evaluate import Metrics


@dataclass(frozen=True)
class RunningPoint:
    """The running averages of an epoch, from its first step to this one."""

    step: int
    """Optimiser step, counted from 1 through the whole run."""

    seen: float
    """How much of the epoch lay behind, 0..1."""

    metrics: Metrics


@dataclass(frozen=True)
class TrainingPass:
    """One epoch's training: `points[-1]` is its average."""

    points: tuple[RunningPoint, ...]
    lr: float
    images_per_second: float

    @property
    def metrics(self) -> Metrics:
        return self.points[-1].metrics


@dataclass(frozen=True)
class EpochRecord:
    epoch: int
    """1-based."""

    training: TrainingPass
    val: Metrics


@dataclass
class History:
    epochs: list[EpochRecord] = field(default_factory=list)

    @property
    def best(self) -> EpochRecord:
        """Highest validation top-1; the earliest of equals."""
        return max(self.epochs, key=lambda record: record.val.top1_accuracy)

    @property
    def best_loss(self) -> EpochRecord:
        """Lowest validation loss; the earliest of equals."""
        return min(self.epochs, key=lambda record: record.val.loss)
