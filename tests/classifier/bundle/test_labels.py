"""Labels: order, names, JSON."""

from classifier.bundle.labels import Labels


def test_a_class_index_is_the_place_of_its_id_in_sorted_order() -> None:
    labels = Labels.from_ids(["n03", "n01", "n02", "n01"], {"n02": "tench"})

    assert labels.ids == ("n01", "n02", "n03")
    assert labels.names == ("n01", "tench", "n03")
    assert labels.index_of["n03"] == 2


def test_labels_survive_json() -> None:
    labels = Labels.from_ids(["b", "a"], {"a": "ä name"})

    assert Labels.from_json(labels.to_json()) == labels
    assert labels.to_json()[0] == {"index": 0, "id": "a", "name": "ä name"}
