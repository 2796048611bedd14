"""Engines on PyMC: the models as `pm.Model`, MAP, NUTS and ADVI."""
