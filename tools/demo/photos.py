"""Take the photos: path tracing, denoising, a film-like tone curve, a little sensor noise."""

import drjit as dr
import mitsuba as mi
import mitsuba_oidn
import numpy as np

from .cameras import HEIGHT, WIDTH, K, Viewpoint

EXPOSURE = 1.0


def trace(scene: mi.Scene, view: Viewpoint, samples: int, seed: int, scale: float = 1.0) -> np.ndarray:
    """Linear picture of a view with its albedo and normals, noisy. float32 [H,W,9]"""
    width, height = round(WIDTH * scale), round(HEIGHT * scale)
    camera_to_world = np.linalg.inv(view.viewmat) @ np.diag([-1.0, -1.0, 1.0, 1.0])
    sensor = mi.load_dict(
        {
            "type": "perspective",
            "fov": float(np.degrees(2 * np.arctan(WIDTH / 2 / K[0, 0]))),
            "near_clip": 0.01,
            "to_world": mi.ScalarTransform4f(camera_to_world),
            "film": {
                "type": "hdrfilm",
                "width": width,
                "height": height,
                "rfilter": {"type": "box"},
                "pixel_format": "rgb",
            },
            "sampler": {"type": "multijitter", "sample_count": samples},
        }
    )
    path = {"type": "path", "max_depth": 5, "rr_depth": 4}
    integrator = mi.load_dict({"type": "aov", "aovs": "albedo:albedo,normal:sh_normal", "image": path})
    return np.array(mi.render(scene, sensor=sensor, integrator=integrator, spp=samples, seed=seed))


def denoise(layers: np.ndarray) -> np.ndarray:
    """Linear picture without its noise (Intel Open Image Denoise, guided by albedo and normals). [H,W,3]"""
    color, albedo, normal = (
        np.ascontiguousarray(layers[..., i : i + 3], dtype=np.float32) for i in (0, 3, 6)
    )
    return np.asarray(mitsuba_oidn.denoise(color, albedo=np.clip(albedo, 0, 1), normal=normal, hdr=True))


def develop(linear: np.ndarray, rng: np.random.Generator, noise: float = 0.004) -> np.ndarray:
    """An 8-bit photo: exposure, a film-like curve (shoulder and toe), sensor noise. [H,W,3]"""
    x = np.maximum(linear * EXPOSURE, 0.0)
    # Narkowicz's fit of the ACES curve.
    x = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    x = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    x = x + rng.normal(0, noise, x.shape) * (1.4 - x)
    return np.clip(np.round(x * 255), 0, 255).astype(np.uint8)


def look_through(scene: mi.Scene, view: Viewpoint, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """What one ray through each pixel's centre meets.

    Args:
        scene: The scene; its shapes' ids are `name#number`.
        view: The camera.
        names: The names that get a number: `names[i]` is i + 1, everything else 0.

    Returns:
        (number of the thing uint8 [H,W], z-depth in metres float64 [H,W]).
    """
    columns, rows = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    directions = np.stack(
        [(columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1], np.ones_like(rows)], axis=-1
    )
    length = np.linalg.norm(directions, axis=-1)
    world = (directions / length[..., None]).reshape(-1, 3) @ view.viewmat[:3, :3]
    ray = mi.Ray3f(mi.Point3f(*view.center.tolist()), mi.Vector3f(*(mi.Float(world[:, i]) for i in range(3))))
    hit = scene.ray_intersect_preliminary(ray)
    pointer = np.array(dr.reinterpret_array(mi.UInt32, hit.shape))
    number = np.zeros(int(pointer.max()) + 1, np.uint8)
    for shape in scene.shapes():
        name = shape.id().split("#")[0]
        index = int(np.array(dr.reinterpret_array(mi.UInt32, mi.ShapePtr(shape)))[0])
        if name in names and index < len(number):
            number[index] = names.index(name) + 1
    depth = np.array(hit.t).reshape(rows.shape) / length
    return number[pointer].reshape(rows.shape), np.where(np.isfinite(depth), depth, 0.0)
