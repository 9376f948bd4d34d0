"""DeepFM (Guo et al. 2017, arXiv 1703.04247): read a click table, train, and see which field pairs interact."""

__version__ = "0.1.0"

from deepfm_core import _earlier_names

_earlier_names.install()
