"""Features and matchers that are networks, where pycolmap was built with what runs them (ONNX)."""

from typing import Any

import numpy as np

from gags.errors import CaptureError
from gags.poses.settings import PoseSettings
from gags.threads import wished_threads


def extraction_options(settings: PoseSettings) -> Any:
    """`pycolmap.FeatureExtractionOptions` of one thread, for photos that are small enough already.

    Args:
        settings: Which features, and how many.
    """
    from gags.poses.colmap import pycolmap

    options = pycolmap.FeatureExtractionOptions()
    options.num_threads = 1
    options.max_image_size = settings.max_size
    if settings.features == "sift":
        options.sift.max_num_features = settings.max_features
        return options
    kind = "ALIKED_N32" if settings.features == "aliked-n32" else "ALIKED_N16ROT"
    options.type = getattr(pycolmap.FeatureExtractorType, kind)
    aliked = getattr(options, "aliked", None)  # there if ONNX is
    if aliked is not None:
        aliked.max_num_features = settings.max_features
    return options


def matching_options(settings: PoseSettings) -> Any:
    """`pycolmap.FeatureMatchingOptions` for the chosen features and matcher, without a GPU."""
    from gags.poses.colmap import pycolmap

    options = pycolmap.FeatureMatchingOptions()
    options.use_gpu, options.num_threads = False, wished_threads()
    family = "SIFT" if settings.features == "sift" else "ALIKED"
    way = "LIGHTGLUE" if settings.matcher == "lightglue" else "BRUTEFORCE"
    if (family, way) != ("SIFT", "BRUTEFORCE"):
        options.type = getattr(pycolmap.FeatureMatcherType, f"{family}_{way}")
    return options


def check_features(settings: PoseSettings) -> None:
    """Make sure that chosen networks can run here, before anything is written.

    Raises:
        CaptureError: If this pycolmap has no such features, cannot run them, or cannot get their weights.
    """
    if settings.features == "sift" and settings.matcher == "nearest":
        return
    from gags.poses.colmap import pycolmap

    asked = f"--features {settings.features} --matcher {settings.matcher}"
    try:
        pycolmap.FeatureExtractor.create(extraction_options(settings), pycolmap.Device.cpu)
        pycolmap.FeatureMatcher.create(matching_options(settings), pycolmap.Device.cpu)
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[-1] if str(error) else type(error).__name__
        raise CaptureError(
            f"{asked} cannot run with pycolmap {pycolmap.__version__} ({reason}); the wheels of PyPI hold no "
            "ONNX: build pycolmap with ONNX_ENABLED, or leave these options out (SIFT, nearest descriptors)"
        ) from error


def comparable(descriptors: Any) -> np.ndarray:
    """Descriptors as numbers that can be compared. uint8 or float32 [n, D]"""
    data = np.array(descriptors.data)
    return data if descriptors.type.name == "SIFT" else data.view(np.float32)
