"""Vectors for Numba kernels: SIMD code by hand, and a cache of the machine code that knows its ingredients.

- `vectors`: 16 float32 at once, arithmetic, comparisons, a few functions.
- `memory`: loading, storing, gathering, scattering.
- `cache`: `kernel`, the decorator of whatever is compiled and kept on disk.

Why not plain loops, which LLVM vectorises where it can: on an AMD EPYC with AVX-512, blending a picture takes
1/17 of the time of the same loops without vectors, the photometric loss with its gradient 1/3
(`benchmarks/simd.py`).

Private parts of Numba that this relies on: `numba.core.typing.templates` (operators of the new types),
`numba.core.cgutils`, the contexts that code generators are given, and `numba.core.caching`. Tested with Numba
0.60 (llvmlite 0.43) to 0.68 (llvmlite 0.50); `tests/simd` says whether a newer one fits.
"""
