"""Engines on PyMC: the models as `pm.Model`, and their mode."""
