"""What the network is asked in a step, and what its answers cost."""

from dataclasses import dataclass

from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from classifier.network import ImageClassifier
from training.augment import random_crop, random_mirror, random_resized_crop, resize
from training.batches import Batch
from training.mixing import cutmix
from training.recipes import Recipe


@dataclass(frozen=True)
class Question:
    """What the network is asked, and what it should answer."""

    inputs: Tensor
    targets: Tensor
    other_targets: Tensor | None
    """The second class of mixed images; None where they are whole."""

    share: Tensor | None
    """Of the first class in each image, 0..1."""


def question_of(
    batch: Batch,
    classifier: ImageClassifier,
    recipe: Recipe,
    *,
    size: int,
    generator: Generator,
) -> Question:
    """The batch as the recipe changes it, in `size` x `size` pixels."""
    images, within = batch.images, batch.within
    if recipe.crop_padding:
        images = random_crop(
            images, padding=recipe.crop_padding, generator=generator, within=within
        )
    if recipe.mirror:
        images = random_mirror(images, generator=generator, within=within)
    inputs = classifier.normalise(images)
    if recipe.least_area < 1:
        inputs = random_resized_crop(
            inputs,
            least_area=recipe.least_area,
            size=size,
            generator=generator,
            within=within,
        )
    else:
        inputs = resize(inputs, size)
    if not recipe.cutmix:
        return Question(inputs, batch.targets, None, None)
    mixed = cutmix(
        inputs,
        batch.targets,
        generator=generator,
        probability=recipe.cutmix,
        within=within,
    )
    return Question(mixed.inputs, mixed.targets, mixed.other_targets, mixed.share)


def losses_of(logits: Tensor, question: Question, *, label_smoothing: float) -> Tensor:
    """float32 [n], in nats."""

    def against(targets: Tensor) -> Tensor:
        return cross_entropy(
            logits, targets, label_smoothing=label_smoothing, reduction="none"
        )

    if question.other_targets is None or question.share is None:
        return against(question.targets)
    rest = 1 - question.share
    return question.share * against(question.targets) + rest * against(
        question.other_targets
    )
