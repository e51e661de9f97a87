"""Photos with poses: what a capture on disk holds, as pinhole views and sparse points."""

from gags.capture.camera import Camera
from gags.capture.capture import Capture, View
from gags.capture.load import load_capture

__all__ = ["Camera", "Capture", "View", "load_capture"]
