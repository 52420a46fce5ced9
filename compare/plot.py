"""A plain plot in SVG: a frame, its ticks, and what is drawn inside."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Plot:
    """Turns values into places; x and y grow from the lower left corner."""

    most_x: float
    most_y: float
    width: float = 300
    height: float = 220
    left: float = 58
    below: float = 40
    above: float = 10

    @property
    def box(self) -> tuple[float, float]:
        return self.left + self.width + 22, self.above + self.height + self.below

    def x(self, value: float) -> float:
        return self.left + self.width * value / self.most_x

    def y(self, value: float) -> float:
        return self.above + self.height * (1 - value / self.most_y)

    def bar(
        self, low: float, high: float, base: float, top: float, kind: str
    ) -> Markup:
        return Markup(
            '<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>'
        ).format(
            kind,
            self.x(low) + 0.5,
            self.y(top),
            max(0.0, self.x(high) - self.x(low) - 1),
            max(0.0, self.y(base) - self.y(top)),
        )

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> Markup:
        path = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
        return Markup('<path class="{}" d="M{}"/>').format(kind, path)

    def frame(
        self,
        *,
        x_ticks: Sequence[tuple[float, str]],
        y_ticks: Sequence[tuple[float, str]],
        x_name: str = "",
        y_name: str = "",
    ) -> Markup:
        """Faint lines across at the y ticks, words at both, names beside them."""
        floor = self.above + self.height
        parts = [
            Markup(
                '<path class="grid" d="M{:.1f} {:.1f}H{:.1f}"/>'
                '<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format(
                *(self.left, self.y(value), self.left + self.width),
                *(self.left - 5, self.y(value) + 4, text),
            )
            for value, text in y_ticks
        ]
        parts += [
            Markup(
                '<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}'
                "</text>"
            ).format(self.x(value), floor + 15, text)
            for value, text in x_ticks
        ]
        parts.append(
            Markup(
                '<text class="axis-name" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}'
                "</text>"
                '<text class="axis-name" transform="translate(11 {:.1f}) rotate(-90)" '
                'text-anchor="middle">{}</text>'
            ).format(
                *(self.left + self.width / 2, floor + 33, x_name),
                *(self.above + self.height / 2, y_name),
            )
        )
        return Markup("").join(parts)

    def svg(self, inside: Markup, *, title: str) -> Markup:
        width, height = self.box
        return Markup(
            '<svg class="plot" viewBox="0 0 {:.0f} {:.0f}" role="img" '
            'aria-label="{}">{}</svg>'
        ).format(width, height, title, inside)
