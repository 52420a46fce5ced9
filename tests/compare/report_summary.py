"""A summary with every key that a report can draw, true or not."""

import copy
from typing import Any

from compare.comparison import Comparison

E = {"value": 0.01, "low": -0.02, "high": 0.04}


def filled(summary: dict[str, Any], comparison: Comparison) -> dict[str, Any]:
    """A copy with what is missing made up."""
    whole = copy.deepcopy(summary)
    ids, names = comparison.labels.ids, comparison.labels.names
    bins = [
        {
            "low": n / 15,
            "high": (n + 1) / 15,
            "images": 10 * n,
            "accuracy": n / 20 if n else None,
            "confidence": (n + 0.5) / 15 if n else None,
        }
        for n in range(15)
    ]
    for side in ("a", "b"):
        whole[side].update(
            mean_reciprocal_rank=0.5, chosen_on_these_images=True, reliability=bins
        )
    whole["top1"].update(backward_trust=E, relative_flip_rate=0.5)
    pair = {
        "target_id": ids[0],
        "target": names[0],
        "answer_id": ids[1],
        "answer": names[1],
    }
    suspect = {
        "image": comparison.names[-1],
        "a_probability": 0.9,
        "b_probability": 0.8,
    }
    part = {"delta": E, "negative_flip_rate": E, "mid_p": 0.2, "q_value": 0.04}
    whole.update(
        data={"name": "digits", "digest": "d1", "labelled": True},
        calibration_error_delta=E,
        mean_reciprocal_rank_delta=E,
        rank_symmetry={"statistic": 1.0, "degrees_of_freedom": 3, "p": 0.8},
        confidence={"delta": E, "truth_delta": E, "truth_images": 100},
        class_improvements=1,
        classes={"tested": 8, "could_be_flagged": 5},
        confusions={"gained": [{**pair, "a": 1, "b": 9}], "lost": []},
        slices=[
            {"name": "brightness", "group": "darkest quarter", "images": 9, **part}
        ],
        probe={"images": 100, "differing": 0},
        label_suspects=[{**pair, **suspect}],
    )
    return whole
