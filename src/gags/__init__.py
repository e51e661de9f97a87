"""gags: photos in, a 3D scene that answers text out (GAGS, arXiv 2412.13654)."""

__version__ = "0.1.0"
