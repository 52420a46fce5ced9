"""Two images in one: shares are what is seen, neighbours are the same for all."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from training.augment import BatchSlice
from training.mixing import Mixed, cutmix, mixup

Mix = Callable[..., Mixed]

both = pytest.mark.parametrize("mix", [cutmix, mixup])


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _flat(count: int, size: int) -> tuple[Tensor, Tensor]:
    """Images of ones where their place is even and of zeros where it is odd."""
    targets = torch.arange(count)
    inputs = (1 - targets % 2).float()[:, None, None, None].expand(-1, 3, size, size)
    return inputs.contiguous(memory_format=torch.channels_last), targets


@both
def test_a_share_is_what_is_seen_of_the_image_itself(mix: Mix) -> None:
    inputs, targets = _flat(200, 16)

    mixed = mix(inputs, targets, generator=_generator())

    of_ones = torch.where(targets % 2 == 0, mixed.share, 1 - mixed.share)
    torch.testing.assert_close(mixed.inputs.mean((1, 2, 3)), of_ones)
    assert (mixed.targets == targets).all()
    assert (mixed.other_targets == (targets ^ 1)).all()
    assert mixed.inputs.is_contiguous(memory_format=torch.channels_last)


def test_cutmix_cuts_one_box() -> None:
    inputs, targets = _flat(200, 16)

    mixed = cutmix(inputs, targets, generator=_generator())

    cut = mixed.inputs[:, 0] != inputs[:, 0]  # [N, H, W]
    rows, columns = cut.any(2), cut.any(1)
    assert (cut == rows[:, :, None] & columns[:, None, :]).all()
    for inside in (rows, columns):
        assert (inside.int().diff(dim=1).clamp(min=0).sum(1) <= 1).all()  # no gap


def test_boxes_of_cutmix_have_the_area_of_the_paper() -> None:
    inputs, targets = _flat(8_000, 32)

    cut = 1 - cutmix(inputs, targets, generator=_generator()).share

    # With area q uniform in 0..1, side s = sqrt(q), and s**2 / 4 of a side lost over
    # the edges: E (s - s**2 / 4)**2 = 1/2 - 1/5 + 1/48. Standard deviation about 0.18
    assert abs(float(cut.mean()) - 0.3208) < 5 * 0.18 / 8_000**0.5
    assert cut.min() < 0.005
    assert cut.max() > 0.9


def test_shares_of_mixup_are_uniform() -> None:
    inputs, targets = _flat(8_000, 2)

    share = mixup(inputs, targets, generator=_generator()).share

    frequencies = share.histc(bins=20, min=0, max=1)
    # Chi-squared of 19 degrees of freedom: mean 19, standard deviation 6.2
    assert ((frequencies - 400) ** 2 / 400).sum() < 19 + 5 * 6.2


@both
def test_an_image_stays_whole_as_often_as_asked(mix: Mix) -> None:
    inputs, targets = _flat(4_000, 32)

    mixed = mix(inputs, targets, generator=_generator(), probability=0.25)

    whole = (mixed.inputs == inputs).flatten(1).all(1)
    assert (mixed.share[whole] == 1).all()
    # 5 standard deviations: sqrt(4000 * 0.25 * 0.75) = 27; some boxes hold no pixel
    assert abs(int(whole.sum()) - 3_000) < 137


@both
def test_a_part_of_a_batch_is_mixed_as_in_the_whole(mix: Mix) -> None:
    inputs, targets = torch.rand(9, 3, 8, 8), torch.arange(9)

    whole = mix(inputs, targets, generator=_generator())

    for start, end in ((0, 4), (4, 6), (6, 9), (8, 9)):
        part = mix(
            inputs[start:end],
            targets[start:end],
            generator=_generator(),
            within=BatchSlice(start=start, end=end, total=9),
        )
        assert (part.inputs == whole.inputs[start:end]).all()
        assert (part.other_targets == whole.other_targets[start:end]).all()
        assert (part.share == whole.share[start:end]).all()


@both
def test_the_last_of_an_odd_batch_stays_what_it_is(mix: Mix) -> None:
    inputs, targets = torch.rand(5, 3, 8, 8), torch.arange(5)

    mixed = mix(inputs, targets, generator=_generator())

    torch.testing.assert_close(mixed.inputs[4], inputs[4])
    assert mixed.other_targets.tolist() == [1, 0, 3, 2, 4]


@both
@pytest.mark.parametrize(("start", "end"), [(1, 4), (2, 5)])
def test_a_slice_that_parts_a_pair_is_refused(mix: Mix, start: int, end: int) -> None:
    inputs, targets = torch.rand(3, 3, 8, 8), torch.arange(3)
    within = BatchSlice(start=start, end=end, total=8)

    with pytest.raises(ValueError, match="part a pair"):
        mix(inputs, targets, generator=_generator(), within=within)


@both
def test_nothing_is_read_back_from_the_device(mix: Mix) -> None:
    # A meta tensor has no values: reading one is an error.
    inputs = torch.empty(6, 3, 8, 8, device="meta")

    mixed = mix(
        inputs, torch.empty(6, dtype=torch.int64, device="meta"), generator=_generator()
    )

    assert mixed.inputs.device.type == mixed.share.device.type == "meta"
