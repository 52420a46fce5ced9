"""Images, truth and classes of files of predictions, joined with those of the data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from classifier.bundle.labels import (
    BadClassMap,
    ClassMap,
    Labels,
    check_class_map_is_for_the_rest,
    match_classes,
)
from classifier.bundle.predictions_file import BadPredictions
from classifier.datasets.dataset import dataset_digest
from compare.collect.collector import Side
from compare.collect.images import Images
from compare.collect.offline.files import PredictionsFile, labels_of


def images_of(files: Sequence[PredictionsFile], class_map: ClassMap = ()) -> Images:
    """The images that the files name, without their pixels, in the files' order.

    Of two files the first is the baseline's.
    """
    names = tuple(
        dict.fromkeys(name for file in files for name in file.predictions.names)
    )
    truths = _truths(files, class_map)
    if truths and (lack := [name for name in names if name not in truths]):
        raise BadPredictions(
            f"{len(lack):,} images have no truth, such as {lack[0]!r}; give both files "
            "a row for each image, or both the column truth, or name the images with "
            "--data"
        )
    class_ids = tuple(truths[name] for name in names) if truths else None
    labelled = [file for file in files if file.predictions.truths is not None]
    return Images(
        data_name=(labelled or files)[0].version.number,
        source="",
        digest=dataset_digest(names, class_ids or [""] * len(names), [""] * len(names)),
        available=len(names),
        names=names,
        files=(),
        class_ids=class_ids,
    )


def with_truths(
    images: Images, files: Sequence[PredictionsFile], class_map: ClassMap = ()
) -> Images:
    """The images with the files' truth, where the data has none.

    Raises BadPredictions where a file's truth is not that of the data.
    """
    truths = _truths(files, class_map, images.class_names)
    if not truths:
        return images
    if images.class_ids is None:
        if not all(name in truths for name in images.names):
            return images
        return replace(images, class_ids=tuple(truths[name] for name in images.names))
    data = labels_of(dict.fromkeys(images.class_ids), images.class_names)
    same = match_classes(
        data, labels_of(dict.fromkeys(truths.values())), _either_way(class_map)
    )
    for name, class_id in zip(images.names, images.class_ids, strict=True):
        truth = truths.get(name, class_id)
        if same.get(truth, truth) != class_id:
            raise BadPredictions(
                f"the truth of {name!r} is {truth!r} in the file and {class_id!r} in "
                f"{images.data_name}; correct the file, take its column truth away, or "
                "name classes that are the same with --class-map"
            )
    return images


def _truths(
    files: Sequence[PredictionsFile],
    class_map: ClassMap,
    class_names: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Class id by image name. Raises BadPredictions if the files disagree."""
    truths: dict[str, str] = {}
    for file in files:
        predictions = file.predictions
        own = dict(zip(predictions.names, predictions.truths or (), strict=False))
        known = labels_of(dict.fromkeys(truths.values()), class_names)
        ours = labels_of(dict.fromkeys(own.values()), class_names)
        same = match_classes(known, ours, _either_way(class_map))
        for name, truth in own.items():
            before = truths.setdefault(name, same.get(truth, truth))
            if before != same.get(truth, truth):
                raise BadPredictions(
                    f"the truth of {name!r} is {before!r} in one file and {truth!r} in "
                    f"{file.version.number}; correct one of them, or name "
                    "classes that are the same with --class-map"
                )
    return truths


def _either_way(class_map: ClassMap) -> dict[str, str]:
    """Each side's id and the other's: which side the data's are of is unknown."""
    return dict(class_map) | {b: a for a, b in class_map}


def with_all_classes(
    a: Side, b: Side, images: Images, class_map: ClassMap = ()
) -> tuple[Side, Side]:
    """Both sides with labels of all the classes that they may know, and with names.

    A file of the likeliest classes does not list the others that its model knows. It
    gets the classes of the other side and of the data too, unless it has them by
    another id. Raises BadClassMap where names that the data gave match other classes.
    """
    _check_is_for_the_rest(class_map, a, b, images.class_names)
    of_b = {id_b: id_a for id_a, id_b in class_map}
    of_a = dict(class_map)
    return _completed(a, b, images, of_b), _completed(b, a, images, of_a)


def _completed(
    side: Side, other: Side, images: Images, chosen: Mapping[str, str]
) -> Side:
    """`chosen` has ids of the other side, and this side's for the same class."""
    file = side.source
    if not isinstance(file, PredictionsFile):
        return side
    ids = file.predictions.class_ids
    names = {**images.class_names, **_names(other.version.labels)}
    theirs = labels_of(other.version.labels.ids, names)
    own_of = match_classes(labels_of(ids, names), theirs, chosen)
    # Without a match there is nothing to compare: check_classes() says so.
    if own_of and not file.knows_all_its_classes:
        own_of = {**chosen, **own_of}  # it may know classes that it never answered
        of_theirs = [own_of.get(id_, id_) for id_ in theirs.ids]
        of_data = (
            own_of.get(id_, id_) for id_ in dict.fromkeys(images.class_ids or ())
        )
        known = () if _is_open(other) else tuple(dict.fromkeys(of_theirs))
        found = {*ids, *of_theirs, *of_data}
        ids = (*known, *sorted(found.difference(known)))
    labels = labels_of(ids, names)
    version = replace(side.version, labels=labels)
    return Side(version, PredictionsFile(version, file.predictions.with_classes(ids)))


def _is_open(side: Side) -> bool:
    """Whether it may know more classes than its labels have."""
    file = side.source
    return isinstance(file, PredictionsFile) and not file.knows_all_its_classes


def _names(labels: Labels) -> dict[str, str]:
    """Names by id, of classes that have one."""
    pairs = zip(labels.ids, labels.names, strict=True)
    return {id_: name for id_, name in pairs if name != id_}


def check_class_map(class_map: ClassMap, a: Side, b: Side) -> None:
    """Raises BadClassMap for an id that a side with known classes does not have.

    And for a class that id or name match to another.
    """
    for place, side in enumerate((a, b)):
        known = side.version.labels.index_of
        unknown = [pair[place] for pair in class_map if pair[place] not in known]
        if unknown and not _is_open(side):
            raise BadClassMap(
                f"--class-map: {side.version.number} has no class {unknown[0]!r}; its "
                f"classes are {', '.join(side.version.labels.ids[:5])}, …"
            )
    _check_is_for_the_rest(class_map, a, b)


def _check_is_for_the_rest(
    class_map: ClassMap, a: Side, b: Side, class_names: Mapping[str, str] | None = None
) -> None:
    """Raises BadClassMap; `class_names` are the data's, by id."""
    names = class_names or {}
    of_a = _own_labels(a, {**names, **_names(b.version.labels)}, dict(class_map))
    of_b = _own_labels(
        b, {**names, **_names(a.version.labels)}, dict(class_map).values()
    )
    check_class_map_is_for_the_rest(class_map, of_a, of_b)


def _own_labels(side: Side, names: Mapping[str, str], in_map: Iterable[str]) -> Labels:
    """Labels of the side; a file's with names, and with classes that the map has."""
    file = side.source
    if not isinstance(file, PredictionsFile):
        return side.version.labels
    return labels_of(dict.fromkeys([*file.predictions.class_ids, *in_map]), names)
