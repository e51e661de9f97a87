"""Other features for Gaussians that are projected already."""

import numpy as np
from numba import prange

from gags.render.kernels.layout import FEATURE_GROUP, FIRST_FEATURE, groups_of, record_stride
from gags.simd.cache import kernel


@kernel(parallel=True)
def set_features(shown, projected, values, channels, records) -> None:
    """Fill the records of Gaussians in the picture: what `project` found of them, and values to blend.

    Args:
        shown: Their indices, some of them more than once. int32
        projected: Records without colours, flat.
        values: Flat, `channels` numbers a Gaussian.
        channels: Number of values to blend.
        records: Flat, `record_stride(channels)` numbers a Gaussian, written for those in the picture.
    """
    stride = record_stride(channels)
    for rank in prange(len(shown)):
        row = np.int64(shown[rank])
        here, there = row * record_stride(0), row * stride
        for k in range(FIRST_FEATURE):
            records[there + k] = projected[here + k]
        for c in range(channels):
            records[there + FIRST_FEATURE + c] = values[row * channels + c]
        records[there + FIRST_FEATURE + channels] = projected[here + FIRST_FEATURE]  # the depth
        for c in range(channels + 1, FEATURE_GROUP * groups_of(channels)):
            records[there + FIRST_FEATURE + c] = 0.0
