"""The documentation site: `make docs` builds it, and warnings are errors.

The repository is the source folder, so that a link such as ../notebooks/05_going_bayesian.md leads
somewhere both on the site and where the sources are read.
"""

from __future__ import annotations

import hashlib
import os
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.util import logging

import bayesmf

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
MOST_SECONDS = 180
"""Of a notebook, which people are to run themselves."""


def sources() -> str:
    """Return a hash of what notebooks run on: they are executed anew when it has changed."""
    digest = hashlib.sha256()
    for path in sorted((HERE.parent / "bayesmf").rglob("*.*")):
        if path.suffix in {".py", ".html"}:
            digest.update(path.read_bytes())
    for package in ("arviz", "jax", "keras", "matplotlib", "numba", "numpy", "pandas", "pymc"):
        digest.update(metadata.version(package).encode())
    return digest.hexdigest()[:16]


project = "bayesmf"
author = "The bayesmf developers"
copyright = f"2026, {author}"  # noqa: A001 - Sphinx's name
version = release = bayesmf.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx-mathjax-offline",
]
root_doc = "docs/index"
include_patterns = ["docs/**", "notebooks/*.md", "CHANGELOG.md", "CONTRIBUTING.md"]
exclude_patterns = ["docs/_build", "docs/templates"]
# The first is that of pages that autosummary makes.
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb"}
templates_path = [str(HERE / "templates")]
# Indented blocks are formulas and output, not Python.
highlight_language = "none"
suppress_warnings = ["mystnb.unknown_mime_type"]

# Markdown, and the notebooks.
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = os.environ.get("DOCS_EXECUTE", "cache")
nb_execution_cache_path = str(HERE / "_build" / "notebooks" / sources())
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_render_markdown_format = "myst"
os.environ["IPYTHONDIR"] = str(HERE / "ipython")  # sharp figures
os.environ["KERAS_BACKEND"] = "jax"

autosummary_generate = True
default_role = "py:obj"  # of single backquotes in docstrings
autodoc_typehints = "none"  # numpydoc's sections have them, in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
toc_object_entries_show_parents = "hide"

html_theme = "pydata_sphinx_theme"
html_title = "bayesmf"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["static/index.html"]  # leads from the folder's index to this site's
html_copy_source = False
html_show_sphinx = False
html_show_search_summary = False  # it would fetch pages, which browsers refuse to files
html_theme_options = {
    "logo": {"text": "bayesmf"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "show_nav_level": 1,
    "footer_start": ["copyright"],
    "footer_end": [],
    "article_footer_items": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_context = {"default_mode": "auto"}
html_sidebars = {"docs/index": [], "CHANGELOG": [], "CONTRIBUTING": []}

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def setup(app: Sphinx) -> None:
    """Formulas by one file that needs no fonts: browsers refuse them to pages read from a disk."""
    app.config.mathjax_path = "mathjax/tex-svg.js"
    app.connect("build-finished", warn_of_long_notebooks)


def warn_of_long_notebooks(app: Sphinx, error: Exception | None) -> None:
    """Warn of notebooks that took longer than people would wait."""
    for name in () if error else sorted(app.env.found_docs):
        ran = NbMetadataCollector.get_exec_data(app.env, name)
        if ran is not None and (ran["runtime"] or 0) > MOST_SECONDS:
            logger = logging.getLogger(__name__)
            logger.warning("took %.0f s, more than %d", ran["runtime"], MOST_SECONDS, location=name)
