"""Places in a plot."""

from compare.plot import Plot


def test_values_grow_from_the_lower_left_corner() -> None:
    plot = Plot(2, 4, width=100, height=80, left=10, above=5)

    assert (plot.x(0), plot.x(2)) == (10, 110)
    assert (plot.y(0), plot.y(4)) == (85, 5)


def test_words_are_escaped() -> None:
    plot = Plot(1, 1)

    svg = plot.svg(plot.frame(x_ticks=[(0, "<b>")], y_ticks=[]), title='"')

    assert "<b>" not in svg
    assert 'aria-label="&#34;"' in svg
