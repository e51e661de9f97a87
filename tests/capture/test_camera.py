import numpy as np
import pytest

from gags.capture.camera import Camera


@pytest.mark.parametrize(
    ("size", "longest_side", "expected"),
    [
        ((1440, 1080), 240, (240, 180)),
        ((1080, 1440), 240, (180, 240)),
        ((200, 100), 240, (200, 100)),
        ((1000, 3), 100, (100, 1)),
    ],
)
def test_a_camera_within_a_longest_side(size, longest_side, expected):
    K = np.array([[500.0, 0, size[0] / 2], [0, 500, size[1] / 2], [0, 0, 1]])
    small = Camera(np.eye(4), K, *size).within(longest_side)
    assert (small.width, small.height) == expected
    np.testing.assert_allclose(small.K[:2, 2], [expected[0] / 2, expected[1] / 2])
