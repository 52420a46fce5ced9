"""Where the truth stands among five answers."""

import numpy as np

from compare.ranks import rank_transitions


def test_rank_transitions_have_the_baseline_in_rows() -> None:
    table = rank_transitions(
        baseline=np.array([1, 1, 0, 5]), candidate=np.array([2, 1, 1, 0])
    )

    assert table[0][:2] == [1, 1]
    assert table[5][0] == 1
    assert table[4][5] == 1
    assert sum(map(sum, table)) == 4
