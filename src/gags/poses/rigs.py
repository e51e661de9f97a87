"""Panoramas in COLMAP's database: their views are taken from one point, in directions that are known.

COLMAP keeps that: a panorama is one frame of a rig of cameras. Its views are not compared with each other,
and neither their directions nor their intrinsics are refined.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gags.capture.lens import turned_to
from gags.poses.bare import BarePhoto


def register_panoramas(database: Any, views: list[BarePhoto]) -> dict[str, int]:
    """Write the views of panoramas to COLMAP's database: cameras and a rig for panoramas that are cut alike.

    Args:
        database: An open `pycolmap.Database`.
        views: All views, panorama by panorama.

    Returns:
        Number of each view, by its key.
    """
    from gags.poses.colmap import pycolmap

    rigs: dict[tuple[Any, ...], tuple[dict[tuple[float, float], int], int]] = {}
    numbers = {}
    for group in by_panorama(views).values():
        alike = tuple((view.direction, view.pinhole) for view in group)
        if alike not in rigs:
            rigs[alike] = _write_rig(database, group)
        cameras, rig_id = rigs[alike]
        frame = pycolmap.Frame()
        frame.rig_id = rig_id
        for view in group:
            image = pycolmap.Image(name=view.key, camera_id=cameras[view.direction])
            image.image_id = database.write_image(image)
            frame.add_data_id(image.data_id)
            numbers[view.key] = image.image_id
        database.write_frame(frame)
    return numbers


def _write_rig(database: Any, group: list[BarePhoto]) -> tuple[dict[tuple[float, float], int], int]:
    """Cameras of the views of one panorama, by direction, and their rig; the first view is its own frame."""
    from gags.poses.colmap import pycolmap

    rig, cameras = pycolmap.Rig(), {}
    first = turned_to(group[0].direction)
    for view in group:
        camera = pycolmap.Camera(
            model="PINHOLE", width=view.width, height=view.height, params=list(view.pinhole or ())
        )
        camera.has_prior_focal_length = True
        camera.camera_id = cameras[view.direction] = database.write_camera(camera)
        if not rig.num_sensors():
            rig.add_ref_sensor(camera.sensor_id)
            continue
        view_from_rig = pycolmap.Rigid3d(
            pycolmap.Rotation3d(turned_to(view.direction).T @ first), np.zeros(3)
        )
        rig.add_sensor(camera.sensor_id, view_from_rig)
    return cameras, database.write_rig(rig)


def by_panorama(views: Sequence[BarePhoto]) -> dict[str, list[BarePhoto]]:
    """Views by the panorama they were cut from; photos that were not cut are left out."""
    groups: dict[str, list[BarePhoto]] = {}
    for view in views:
        if view.panorama:
            groups.setdefault(view.panorama, []).append(view)
    return groups


def hold_rigs(options: Any, database: Any) -> None:
    """Keep what is known of panoramas while photos are placed: directions of their views, and intrinsics.

    Args:
        options: `pycolmap.IncrementalPipelineOptions`, which is changed.
        database: An open `pycolmap.Database`.
    """
    rigs = [rig for rig in database.read_all_rigs() if rig.num_sensors() > 1]
    if not rigs:
        return
    options.ba_refine_sensor_from_rig = False
    options.constant_cameras = {sensor.id for rig in rigs for sensor in rig.sensor_ids()}
    # A model needs so many frames; a panorama is one.
    options.min_model_size = min(options.min_model_size, max(3, database.num_frames() // 4))
