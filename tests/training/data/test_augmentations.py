"""Two images in one: shares are what is seen, neighbours are the same for all."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from training.data.augmentations import (
    BatchSlice,
    Mixed,
    cutmix,
    mixup,
    random_crop,
    random_mirror,
    random_operations,
    random_resized_crop,
)

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

    with pytest.raises(ValueError, match="separate a pair"):
        mix(inputs, targets, generator=_generator(), within=within)


@both
def test_mixing_reads_nothing_back_from_the_device(mix: Mix) -> None:
    # A meta tensor has no values: reading one is an error.
    inputs = torch.empty(6, 3, 8, 8, device="meta")

    mixed = mix(
        inputs, torch.empty(6, dtype=torch.int64, device="meta"), generator=_generator()
    )

    assert mixed.inputs.device.type == mixed.share.device.type == "meta"


Change = Callable[..., Tensor]


def _crop(batch: Tensor, **rest: object) -> Tensor:
    return random_crop(batch, padding=2, generator=_generator(), **rest)  # type: ignore[arg-type]


def _mirror(batch: Tensor, **rest: object) -> Tensor:
    return random_mirror(batch, generator=_generator(), **rest)  # type: ignore[arg-type]


def _window(batch: Tensor, **rest: object) -> Tensor:
    inputs = batch.permute(0, 3, 1, 2).float()
    return random_resized_crop(
        inputs,
        least_area=0.3,
        size=6,
        generator=_generator(),
        **rest,  # type: ignore[arg-type]
    )


def _operations(batch: Tensor, **rest: object) -> Tensor:
    return random_operations(batch, magnitude=9, generator=_generator(), **rest)  # type: ignore[arg-type]


every_change = pytest.mark.parametrize("change", [_crop, _mirror, _window, _operations])


def _ramps(count: int, size: int) -> Tensor:
    """Float [N, 3, size, size]: channel 0 holds a pixel's y, 1 its x, in 0..1."""
    axis = (torch.arange(size) + 0.5) / size
    ramps = torch.zeros(count, 3, size, size)
    ramps[:, 0], ramps[:, 1] = axis[:, None], axis
    return ramps.contiguous(memory_format=torch.channels_last)


def test_a_crop_shows_a_shifted_image_over_black() -> None:
    image = torch.arange(1, 17, dtype=torch.uint8).view(1, 4, 4, 1).expand(1, 4, 4, 3)
    framed = torch.zeros(8, 8, 3, dtype=torch.uint8)
    framed[2:6, 2:6] = image[0]
    windows = [framed[y : y + 4, x : x + 4] for y in range(5) for x in range(5)]

    cropped = random_crop(image.expand(500, 4, 4, 3), padding=2, generator=_generator())

    seen = [
        next(w for w, window in enumerate(windows) if (c == window).all())
        for c in cropped
    ]
    assert set(seen) == set(range(25))
    assert cropped.is_contiguous()


def test_every_shift_is_as_frequent_as_every_other() -> None:
    image = torch.zeros(1, 9, 9, 3, dtype=torch.uint8)
    image[:, 4, 4] = 255  # where it goes to tells the shift
    count = 8_100

    cropped = random_crop(
        image.expand(count, 9, 9, 3), padding=4, generator=_generator()
    )

    frequencies = (cropped[..., 0] > 0).sum(0)  # [9, 9]
    assert frequencies.sum() == count
    # Chi-squared of 80 degrees of freedom: mean 80, standard deviation 12.6
    assert ((frequencies - 100) ** 2 / 100).sum() < 80 + 5 * 12.6


def test_half_of_the_images_are_mirrored_and_the_others_untouched() -> None:
    image = torch.arange(4 * 4 * 3, dtype=torch.uint8).view(1, 4, 4, 3)
    count = 2_000

    mirrored = random_mirror(image.expand(count, 4, 4, 3), generator=_generator())

    flipped = (mirrored == image.flip(2)).flatten(1).all(1)
    kept = (mirrored == image).flatten(1).all(1)
    assert (flipped ^ kept).all()
    # 5 standard deviations of a fair coin: sqrt(2000) / 2 = 22
    assert abs(int(flipped.sum()) - count // 2) < 112


def test_a_window_has_the_area_aspect_and_place_that_it_should() -> None:
    inputs, size = _ramps(4_000, 32), 32

    cropped = random_resized_crop(
        inputs, least_area=0.25, size=size, generator=_generator()
    )

    # Two output pixels well inside are a known part of the window apart.
    low, high = size // 4, 3 * size // 4
    apart = (high - low) / size
    height = (cropped[:, 0, high, 0] - cropped[:, 0, low, 0]) / apart
    width = (cropped[:, 1, 0, high] - cropped[:, 1, 0, low]) / apart
    area, aspect = height * width, width / height
    assert 0.249 < area.min() < 0.255
    assert 0.98 < area.max() < 1.001
    # Uniform in 0.25..1: standard deviation 0.2165, of the mean of 4000 0.0034
    assert abs(float(area.mean()) - 0.625) < 0.017
    assert abs(float(area.std()) - 0.2165) < 0.01
    assert 0.749 < aspect.min() < 0.76
    assert 1.32 < aspect.max() < 1.334
    assert abs(float(aspect.log().mean())) < 0.012
    # The place: how much is left out above, of all that is left out
    top = cropped[:, 0, low, 0] - (low + 0.5) / size * height
    place = (top / (1 - height))[height < 0.9]
    assert (place > -0.01).all()
    assert (place < 1.01).all()
    assert abs(float(place.mean()) - 0.5) < 0.025
    assert abs(float(place.std()) - 12**-0.5) < 0.015


def test_the_whole_image_is_a_window_that_changes_nothing() -> None:
    inputs = torch.rand(3, 3, 8, 8)

    cropped = random_resized_crop(inputs, least_area=1, size=8, generator=_generator())

    torch.testing.assert_close(cropped, inputs, atol=1e-5, rtol=0)  # fp32 positions


def test_a_window_gets_its_size_and_the_memory_order_stays() -> None:
    inputs = _ramps(4, 64)

    cropped = random_resized_crop(
        inputs, least_area=0.5, size=48, generator=_generator()
    )

    assert cropped.shape == (4, 3, 48, 48)
    assert cropped.is_contiguous(memory_format=torch.channels_last)


def test_random_operations_leave_torch_s_random_numbers_alone() -> None:
    images = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8)
    before = torch.get_rng_state()

    changed = random_operations(images, magnitude=9, generator=_generator())

    assert changed.shape == images.shape
    assert changed.dtype == torch.uint8
    assert torch.equal(torch.get_rng_state(), before)


@every_change
def test_every_image_is_changed_in_a_way_of_its_own(change: Change) -> None:
    image = torch.arange(64 * 3, dtype=torch.uint8).view(1, 8, 8, 3)

    changed = change(image.expand(64, 8, 8, 3))

    different = len({tuple(c.flatten().tolist()) for c in changed})
    assert different == 2 if change is _mirror else different > 20


@every_change
def test_the_same_generator_state_gives_the_same_images(change: Change) -> None:
    images = torch.randint(1, 256, (9, 8, 8, 3), dtype=torch.uint8)

    assert (change(images) == change(images)).all()


@every_change
def test_a_part_of_a_batch_is_changed_as_in_the_whole(change: Change) -> None:
    images = torch.randint(1, 256, (9, 8, 8, 3), dtype=torch.uint8)

    whole = change(images)

    for start, end in ((0, 4), (4, 7), (7, 9)):
        within = BatchSlice(start=start, end=end, total=9)
        assert (change(images[start:end], within=within) == whole[start:end]).all()


@pytest.mark.parametrize("change", [_crop, _mirror, _window])
def test_nothing_is_read_back_from_the_device(change: Change) -> None:
    # A meta tensor has no values: reading one is an error.
    images = torch.empty(6, 8, 8, 3, dtype=torch.uint8, device="meta")

    assert change(images).device.type == "meta"


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (2, 2), (3, 10)])
def test_a_slice_lies_in_its_batch(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="no part of a batch of 9"):
        BatchSlice(start=start, end=end, total=9)
