"""Formulas in TeX as pictures: a page that runs no script and loads no font cannot set them."""

import base64
import re

from markupsafe import Markup
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser

from pipeline.reporting.figures.style import svg

SIZE, EM = 12, 10.5
"""Size in points of the letters, and of one em of the text beside them, which looks larger."""
LOOK = {"svg.hashsalt": "formula", "svg.fonttype": "path", "savefig.transparent": True}
"""Settings by which equal formulas give equal bytes, whatever the machine's matplotlibrc says."""
ALIASES = {r"\\[lr]vert\b": "|", r"\\([gl]e)\b": r"\\\1q"}
"""Patterns of what GitHub knows and matplotlib does not, each with its replacement."""


def draw(tex: str) -> Markup:
    """A formula as an SVG picture on the line of its text; equal formulas give equal bytes.

    Raises:
        ValueError: matplotlib does not know this TeX.
    """
    text = " ".join(tex.split())
    for known, drawn in ALIASES.items():
        text = re.sub(known, drawn, text)
    text = f"${text}$"
    with style.context(["default", LOOK]):
        font = FontProperties(size=SIZE, math_fontfamily="stix")
        width, height, depth = MathTextParser("path").parse(text, dpi=72, prop=font)[:3]
        figure = Figure(figsize=(width / 72, height / 72))
        figure.text(0, depth / height, text, fontproperties=font)
        content = svg(figure)
    size = f"height: {height / EM:.2f}em; vertical-align: {-depth / EM:.2f}em"
    return Markup(
        '<img class="formula" alt="{}" style="{}" src="data:image/svg+xml;base64,{}">'
    ).format(tex.strip(), size, base64.b64encode(content.encode()).decode())
