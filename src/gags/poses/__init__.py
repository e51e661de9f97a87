"""Poses for photos that have none, points for poses alone: structure from motion through pycolmap."""

from gags.poses.find import find_poses, poses
from gags.poses.points import find_points
from gags.poses.settings import PoseSettings

__all__ = ["PoseSettings", "find_points", "find_poses", "poses"]
