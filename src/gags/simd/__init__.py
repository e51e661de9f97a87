"""Vectors for Numba kernels: SIMD code by hand, and a cache of the machine code that knows its ingredients.

- `vectors`: 16 float32 at once, arithmetic, comparisons, a few functions.
- `memory`: loading, storing, gathering, scattering.
- `cache`: `kernel`, the decorator of whatever is compiled and kept on disk.
"""
