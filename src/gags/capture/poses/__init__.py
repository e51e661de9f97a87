"""Poses for photos that have none: structure from motion through pycolmap."""

from gags.capture.poses.find import find_poses
from gags.capture.poses.settings import PoseSettings

__all__ = ["PoseSettings", "find_poses"]
