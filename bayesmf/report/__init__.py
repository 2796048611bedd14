"""The page: a comparison, its figures and some recommendations in one HTML file."""

from __future__ import annotations

from bayesmf.report.page import write_comparison_page

__all__ = ["write_comparison_page"]
