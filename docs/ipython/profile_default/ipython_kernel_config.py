"""Kernels of the site: figures for screens of twice the usual density; only errors are logged."""

c = get_config()  # noqa: F821 - IPython provides it
c.InlineBackend.figure_formats = {"retina"}
c.IPKernelApp.log_level = "ERROR"
