"""Rows folded into a fit: whom, given which ratings (`planning`), and their draws (`drawing`)."""
