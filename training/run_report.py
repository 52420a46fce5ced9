"""What a run prints on standard output: what it is, its epochs, what came of it."""

from training.history import EpochRecord

HEADER = (
    "  epoch   train loss   top-1      val loss   top-1    top-5    images/s  version"
)


def print_start(
    *,
    model: str,
    run: str,
    network: str,
    compute: str,
    images: str,
    store: str,
    resumed: str | None,
) -> None:
    print(f"model    {model}, {network}")
    print(f"run      {run} in {store}")
    print(f"data     {images}")
    print(f"compute  {compute}")
    if resumed is not None:
        print(f"goes on  {resumed}")
    print()
    print(HEADER, flush=True)


def print_epoch(record: EpochRecord, *, epochs: int, version: str) -> None:
    training, val = record.training, record.val
    print(
        f"{record.epoch:4}/{epochs:<4}"
        f"{training.metrics.loss:9.4f} {training.metrics.top1_accuracy:9.2%}"
        f"{val.loss:12.4f} {val.top1_accuracy:8.2%} {val.top5_accuracy:8.2%}"
        f"{training.images_per_second:10,.0f}   v{version}",
        flush=True,
    )


def print_outcome(diagnosis: str) -> None:
    print()
    print(diagnosis, end="", flush=True)


def print_finished(run_id: str) -> None:
    print(f"run {run_id} is finished; there is nothing to go on with")


def print_note(note: str) -> None:
    print(f"note     {note}")
