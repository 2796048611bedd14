"""Neural models of ratings, by Keras: `fit_neural_mf` and `fit_autorec`.

They need the extra `neural` (Keras 3 with JAX; other backends of Keras work too), which is imported
when one of them is called.
"""

from bayesmf.neural.fit_networks import fit_neural_mf
from bayesmf.neural.fit_rows import fit_autorec

__all__ = ["fit_autorec", "fit_neural_mf"]
