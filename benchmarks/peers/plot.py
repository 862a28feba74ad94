"""The comparison as a plot: an SVG written by hand, readable on light and dark ground."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 820
NAMES: Final = 230
"""So far right the bars begin."""
FIGURES: Final = 90
"""So much room is left for a figure at the end of the longest bar."""
BAR: Final = 20
ROW: Final = 30
HEADING: Final = 46

STYLE: Final = """
  text { font: 14px system-ui, sans-serif; fill: #1f2328; }
  .heading { font-weight: 600; font-size: 15px; }
  .ours { fill: #0969da; }
  .peer { fill: #8c959f; }
  .axis { stroke: #d0d7de; }
  .ground { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .ours { fill: #4493f8; }
    .peer { fill: #6e7681; }
    .axis { stroke: #3d444d; }
    .ground { fill: #0d1117; }
  }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """A server's figure."""

    name: str
    value: float
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars of one kind under a heading. `show` writes a figure for people."""

    heading: str
    bars: Sequence[Bar]
    show: Callable[[float], str]


def draw(title: str, panels: Sequence[Panel]) -> str:
    """The panels, one below the other."""
    top = 8
    parts = []
    for panel in panels:
        parts += _panel(panel, top)
        top += HEADING + ROW * len(panel.bars) + 10
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{top}" rx="6"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def _panel(panel: Panel, top: int) -> list[str]:
    longest = max(bar.value for bar in panel.bars)
    parts = [f'<text class="heading" x="16" y="{top + 26}">{escape(panel.heading)}</text>']
    first = top + HEADING
    for number, bar in enumerate(panel.bars):
        y = first + ROW * number
        length = round((WIDTH - NAMES - FIGURES) * bar.value / longest, 1)
        kind = "ours" if bar.is_ours else "peer"
        parts += [
            f'<text x="{NAMES - 10}" y="{y + 15}" text-anchor="end">{escape(bar.name)}</text>',
            f'<rect class="{kind}" x="{NAMES}" y="{y}" width="{length}" height="{BAR}" rx="2"/>',
            f'<text x="{NAMES + length + 8}" y="{y + 15}">{escape(panel.show(bar.value))}</text>',
        ]
    last = first + ROW * len(panel.bars) - (ROW - BAR)
    return [*parts, f'<line class="axis" x1="{NAMES}" x2="{NAMES}" y1="{first - 4}" y2="{last + 4}"/>']
