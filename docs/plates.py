"""Draw both models as plates, images/plates-*.svg: `python -m docs.plates`.

`tests/test_docs.py` holds their arrows against the graphs that PyMC has of the models.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

IMAGES = Path(__file__).parent / "images"


class Node(NamedTuple):
    """How a variable is written, where it stands, and what stands for it in the PyMC model."""

    label: str
    x: float
    y: float
    variables: tuple[str, ...]


class Graph(NamedTuple):
    """A model as plates: its nodes by name, and its arrows."""

    nodes: dict[str, Node]
    arrows: tuple[tuple[str, str], ...]
    top: float
    """Upper edge of the plates of users and items."""


def _bartlett(side: str) -> tuple[str, ...]:
    """In PyMC a precision is made of its strength and of the parts of its Bartlett root."""
    return (f"precision_{side}", f"bartlett_squares_{side}", f"bartlett_below_{side}")


GRAPHS = {
    "bpmf": Graph(
        {
            "w_U": Node(r"$w_U$", 0.0, 4.4, ("strength_user",)),
            "Lambda_U": Node(r"$\Lambda_U$", 0.0, 3.2, _bartlett("user")),
            "mu_U": Node(r"$\mu_U$", 1.4, 3.2, ("mu_user",)),
            "user": Node(r"$u_i,\,b_i$", 1.4, 1.5, ("user_rows",)),
            "rating": Node(r"$r_{ij}$", 3.0, 1.0, ("rating",)),
            "alpha": Node(r"$\alpha$", 3.0, 3.2, ("alpha",)),
            "item": Node(r"$v_j,\,c_j$", 4.6, 1.5, ("item_rows",)),
            "mu_V": Node(r"$\mu_V$", 4.6, 3.2, ("mu_item",)),
            "Lambda_V": Node(r"$\Lambda_V$", 6.0, 3.2, _bartlett("item")),
            "w_V": Node(r"$w_V$", 6.0, 4.4, ("strength_item",)),
        },
        (
            ("w_U", "Lambda_U"), ("Lambda_U", "mu_U"), ("Lambda_U", "user"), ("mu_U", "user"),
            ("w_V", "Lambda_V"), ("Lambda_V", "mu_V"), ("Lambda_V", "item"), ("mu_V", "item"),
            ("user", "rating"), ("item", "rating"), ("alpha", "rating"),
        ),
        2.2,
    ),
    "pmf": Graph(
        {
            "sigma_user": Node(r"$\sigma_u$", 0.6, 4.4, ("sigma_user",)),
            "sigma_bias": Node(r"$\sigma_b$", 3.0, 4.4, ("sigma_bias",)),
            "sigma": Node(r"$\sigma$", 3.0, -1.0, ("sigma",)),
            "sigma_item": Node(r"$\sigma_v$", 5.4, 4.4, ("sigma_item",)),
            "u": Node(r"$u_i$", 0.6, 2.4, ("user_factors",)),
            "b": Node(r"$b_i$", 1.8, 2.4, ("user_bias",)),
            "c": Node(r"$c_j$", 4.2, 2.4, ("item_bias",)),
            "v": Node(r"$v_j$", 5.4, 2.4, ("item_factors",)),
            "rating": Node(r"$r_{ij}$", 3.0, 1.0, ("rating",)),
        },
        (
            ("sigma_user", "u"), ("sigma_bias", "b"), ("sigma_bias", "c"), ("sigma_item", "v"),
            ("u", "rating"), ("b", "rating"), ("c", "rating"), ("v", "rating"),
            ("sigma", "rating"),
        ),
        3.1,
    ),
}  # fmt: skip


def description(name: str) -> str:
    """Say what a picture shows, so that a test can tell an old one."""
    nodes = ", ".join(node.label.strip("$") for node in GRAPHS[name].nodes.values())
    return f"{name}: {nodes}; " + ", ".join(" to ".join(arrow) for arrow in GRAPHS[name].arrows)


def draw(name: str) -> Path:
    """Draw one model and return the path of its picture."""
    import daft
    import matplotlib as mpl

    graph = GRAPHS[name]
    with mpl.rc_context({"svg.hashsalt": "bayesmf", "svg.fonttype": "path", "font.size": 13}):
        pgm = daft.PGM(line_width=1.1, node_unit=1.25, observed_style="shaded", grid_unit=2.2)
        for key, node in graph.nodes.items():
            pgm.add_node(key, node.label, node.x, node.y, observed=key == "rating", aspect=1.2)
        for start, end in graph.arrows:
            pgm.add_edge(start, end)
        left, right = (0.0, 6.0) if name == "pmf" else (0.6, 5.4)
        height = graph.top + 0.1
        for rectangle, label, corner in (
            ((left, 0.0, 3.6 - left, height), "users $i$", "bottom left"),
            ((2.4, -0.2, right - 2.4, height), "items $j$", "bottom right"),
        ):
            pgm.add_plate(rectangle, label, position=corner, rect_params={"facecolor": "none"})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # daft measures labels in a way that Matplotlib ends
            figure = pgm.render().figure
        figure.set_facecolor("white")
        path = IMAGES / f"plates-{name}.svg"
        about = {"Date": None, "Description": description(name)}
        figure.savefig(path, bbox_inches="tight", metadata=about, facecolor="white")
    return path


if __name__ == "__main__":
    for which in GRAPHS:
        draw(which)
