"""A photo of a scene in which its things are framed and named."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gags.capture.camera import Camera
from gags.draw.colors import label_colors
from gags.draw.lettering import resize, tag
from gags.draw.pictures import outline
from gags.gaussians import Gaussians, render
from gags.query.catalog import Entry
from gags.query.seen import seen_in
from gags.scene import Scene

OWNED_SHARE = 0.5  # of a pixel that a thing must make up, for the pixel to be the thing's
LEAST_PICTURE_WIDTH = 1200  # px; smaller photos are enlarged by a whole number
LEAST_FRAMED_AREA = 0.0005  # of the picture; a thing that covers less is not framed


def picture_of_entries(scene: Scene, entries: Sequence[Entry]) -> np.ndarray:
    """The photo that shows most things of a catalogue, each framed and named; parts are left out.

    Returns:
        uint8 RGB, at least 1200 px wide.
    """
    wholes = [entry for entry in entries if entry.part_of is None]
    masks = [entry.mask for entry in wholes]
    views = scene.capture.views
    seen = seen_in(scene.gaussians, [view.camera for view in views], masks)
    view = views[int(seen.sum(axis=1).argmax())]
    photo = view.image()
    regions = (
        np.zeros((0, *photo.shape[:2]), bool)
        if not wholes
        else things_in_view(scene.gaussians, masks, view.camera)
    )
    return labelled_picture(photo, regions, [entry.name for entry in wholes])


def things_in_view(gaussians: Gaussians, masks: Sequence[Tensor], camera: Camera) -> np.ndarray:
    """Where each of some things is seen, without the parts that something else hides.

    Args:
        gaussians: The scene.
        masks: Gaussians of n things; a Gaussian of several belongs to the smallest of them. bool [N] each
        camera: The view.

    Returns:
        bool [n, H, W]
    """
    owner = torch.full((len(gaussians),), len(masks))
    for row in sorted(range(len(masks)), key=lambda row: -int(masks[row].sum())):
        owner[masks[row]] = row
    colors = one_hot(owner, len(masks) + 1).float().to(gaussians.means.device)
    with torch.no_grad():
        shares = render(gaussians, camera, colors).colors
    return (shares[..., :-1] >= OWNED_SHARE).permute(2, 0, 1).cpu().numpy()


def labelled_picture(photo: np.ndarray, regions: np.ndarray, names: list[str]) -> np.ndarray:
    """A photo with a frame, an outline and a name for every thing in it.

    Args:
        photo: uint8 RGB [H, W, 3]
        regions: Where each thing is seen. bool [n, H, W]
        names: Of the things.

    Returns:
        uint8 RGB [k H, k W, 3], enlarged k times so that it is at least 1200 px wide
    """
    height, width = photo.shape[:2]
    scale = max(1, -(-LEAST_PICTURE_WIDTH // width))  # names need room
    picture = resize(photo, height * scale, width * scale)
    picture = picture.copy() if scale == 1 else picture
    colors = label_colors(len(names))
    frames = []
    for region, name, shade in zip(regions, names, colors.tolist(), strict=True):
        if region.sum() < LEAST_FRAMED_AREA * region.size:
            continue
        color = (shade[0], shade[1], shade[2])
        region = region.repeat(scale, axis=0).repeat(scale, axis=1)
        picture = outline(picture, region, color)
        ys, xs = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
        frames.append((name, color, (int(xs[0]), int(ys[0])), (int(xs[-1]), int(ys[-1]))))
    for _, color, low, high in frames:
        cv2.rectangle(picture, low, high, color, 1)
    for name, color, low, _ in frames:
        tag(picture, name, low, color)
    return picture
