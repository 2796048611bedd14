"""Figures in notebooks of the site: sharp on screens of twice the usual density."""

c = get_config()  # noqa: F821 - IPython provides it
c.InlineBackend.figure_formats = {"retina"}
