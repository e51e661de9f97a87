"""Photos with poses: what a capture on disk holds, as pinhole views and sparse points."""

from gags.capture.camera import Camera
from gags.capture.capture import Capture, View
from gags.capture.lens import Lens
from gags.capture.load import load_capture
from gags.capture.saved import read_capture_of, read_saved_capture, save_capture

__all__ = [
    "Camera", "Capture", "Lens", "View", "load_capture", "read_capture_of", "read_saved_capture",
    "save_capture",
]  # fmt: skip
