"""One look for all figures: colours, light and dark, axes without boxes."""

from __future__ import annotations

import math
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import matplotlib as mpl
import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.lines import Line2D

from bayesmf.diagnostics.identified import Kept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pandas as pd
    from matplotlib.axes import Axes

BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"
VERMILLION, PURPLE, SKY = "#D55E00", "#CC79A7", "#56B4E9"
_CYCLE = (ORANGE, GREEN, BLUE, VERMILLION, PURPLE, SKY)
# Blue and green are too dark for a dark page: blue changes places with its sky, green is lightened.
_LIT_GREEN = "#2FC59B"
_DARK_CYCLE = (ORANGE, _LIT_GREEN, SKY, "#F0763A", PURPLE, "#7FA6C9")
MARKERS = ("s", "^", "o", "D", "v", "P")
DASHES: tuple[Any, ...] = ((0, (1.2, 1.6)), (0, (5, 2)), "-", (0, (5, 2, 1, 2)), "-", "-")

_COMMON: dict[str, Any] = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.figsize": (5.8, 4.0),
    "figure.dpi": 110,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.08,
    "svg.hashsalt": "bayesmf",  # the same figure gives the same bytes
}
_INKS = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")


class Sampled(Kept, Protocol):
    """What figures need of a posterior."""

    def predict(self, pairs: object, *, prob: float | None = ..., kind: str = ...) -> pd.DataFrame:
        """Predict cells, with intervals."""


class Look(NamedTuple):
    """How one model is drawn."""

    color: str
    marker: str
    dashes: Any


@contextmanager
def style(*, dark: bool = False) -> Iterator[None]:
    """Draw figures in the look of this package inside a `with` block.

    Parameters
    ----------
    dark : bool, default False
        For a dark page: light text, brighter colours. The background is transparent either way.

    Returns
    -------
    context manager

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from bayesmf import plots
    >>> with plots.style(dark=True):
    ...     figure, ax = plt.subplots()
    >>> ax.spines["top"].get_visible()
    False
    >>> plt.close(figure)
    """
    ink, cycle = ("#dcdfe4", _DARK_CYCLE) if dark else ("#22262b", _CYCLE)
    look: dict[Any, Any] = _COMMON | {"axes.prop_cycle": cycler(color=cycle)}
    look |= dict.fromkeys(_INKS, ink) | dict.fromkeys(("axes.edgecolor", "grid.color"), "#8b929b")
    look |= dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none")
    with mpl.rc_context(look):
        yield


def styled[**P, R](draw: Callable[P, R]) -> Callable[P, R]:
    """Let a figure function draw in this look, on white, unless it is given axes of the caller's.

    Inside `style` it draws in what is set there.
    """

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        given = kwargs.get("ax") is not None or kwargs.get("axes") is not None
        if given or _cycle() in (_CYCLE, _DARK_CYCLE):
            return draw(*args, **kwargs)
        with style(), mpl.rc_context({"figure.facecolor": "white", "savefig.facecolor": "white"}):
            return draw(*args, **kwargs)

    return drawn


def prepare(ax: Axes | None) -> Axes:
    """Return `ax`, or the axes of a new figure."""
    return plt.subplots(layout="constrained")[1] if ax is None else ax


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Colour, marker and line style of each model, by its place in a comparison."""
    cycle = palette()
    return {
        name: Look(cycle[k % len(cycle)], MARKERS[k % len(MARKERS)], DASHES[k % len(DASHES)])
        for k, name in enumerate(names)
    }


def key(name: str, look: Look) -> Line2D:
    """One legend entry for a model's line and markers together."""
    return Line2D([], [], color=look.color, ls=look.dashes, marker=look.marker, ms=6, label=name)


def palette() -> list[str]:
    """Colours of models: the style's where one is set, else Okabe and Ito's for a light page."""
    return list(_DARK_CYCLE if _cycle() == _DARK_CYCLE else _CYCLE)


def chain_colors(n_chains: int) -> list[str]:
    """Colours of chains, that of one model first."""
    colors = palette()
    order = (2, 0, 1, 4, 3, 5)
    return [colors[order[k % len(order)]] for k in range(n_chains)]


def _cycle() -> tuple[str, ...]:
    return tuple(mpl.rcParams["axes.prop_cycle"].by_key().get("color", []))


def accent() -> str:
    """Return the colour of a figure that shows one model."""
    return palette()[2]


def contrast() -> str:
    """Return the colour of what stands out against `accent`."""
    return palette()[3]


def ink() -> str:
    """Return the colour of text, for lines that a reader compares with."""
    return str(mpl.rcParams["text.color"])


def decimals(sd: float) -> int:
    """Decimals that show numbers to about a hundredth of a standard deviation."""
    return max(0, 2 - math.floor(math.log10(sd))) if sd > 0 else 2


def grid(ax: Axes, axis: Any = "y") -> None:
    """Draw faint lines behind the data."""
    ax.grid(visible=True, axis=axis, linewidth=0.6, alpha=0.35)
    ax.set_axisbelow(True)
