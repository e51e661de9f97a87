"""Find what a scene consists of, whatever it is called: groups of things, things, and their parts.

A mask of one photo may be a fragment, a thing, or several things at once. What photo after photo cuts out
along the same border of the same surface is a thing, or a part of one that stands out.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gags.capture import Camera, Capture
from gags.distill.evidence import Evidence, gather_evidence
from gags.embed.description import Description, Descriptions
from gags.errors import DamagedError, WorkspaceError
from gags.gaussians import Gaussians
from gags.progress import SILENT, Reporter
from gags.store import stamp
from gags.things.pieces import pieces_of_masks
from gags.things.things import Things
from gags.things.tree import OWN_IOU, Overlap, Tree, grow
from gags.workspace import Workspace

WAY = "pieces by repeatability"  # things that were found in another way are found anew
OUTLIER = 3.0  # standard deviations below the mean: embeddings of masks that fit a thing less are dropped


def find_things(
    gaussians: Gaussians,
    items: Sequence[tuple[Camera, Description]],
    *,
    folder: Path | None = None,
    progress: Reporter = SILENT,
) -> Things:
    """Find the things of a scene.

    Args:
        gaussians: The scene.
        items: Camera and masks of every photo.
        folder: Where the evidence of many photos lies meanwhile, see `gags.files.rows.Rows`.
        progress: Told about progress.

    Returns:
        The things, wholes before their parts; none without masks.
    """
    read = _Read(items)
    evidence, levels = gather_evidence(
        gaussians, read, stage="Finding things", folder=folder, progress=progress
    )
    pieces = pieces_of_masks(evidence, folder)
    if not pieces:  # no masks; or what few photos cut out is seen by too many others
        return Things.none()
    means = gaussians.means.cpu().double().numpy()
    opacities = gaussians.opacities.cpu().double().numpy()
    tree = grow(evidence, pieces, means, opacities)
    embeddings, scores = np.concatenate(read.embeddings), np.concatenate(read.scores)
    return things_of_tree(tree, evidence, levels, embeddings, scores)


class _Read(Sequence[tuple[Camera, Description]]):
    """Photos that keep what their masks say when they are read, so that each is read once."""

    def __init__(self, items: Sequence[tuple[Camera, Description]]) -> None:
        self.items = items
        self.embeddings: list[np.ndarray] = []
        self.scores: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        camera, description = self.items[index]
        self.embeddings.append(description.embeddings)
        self.scores.append(description.masks.scores)
        return camera, description


def things_of_tree(
    tree: Tree, evidence: Evidence, levels: np.ndarray, embeddings: np.ndarray, scores: np.ndarray
) -> Things:
    """The nodes of a tree with what their own masks say.

    A mask is a node's own if the two have an IoU of a half as the mask's photo sees it. A node without any
    takes the mask that is nearest to that; what no mask touches has no embedding, but zeros. What was left
    over is said to be cut out by no photo.

    Args:
        tree: The nodes.
        evidence: Which masks of which photos cover every Gaussian.
        levels: Level (0, 1, 2) of every mask. [M]
        embeddings: Of every mask, L2-normalised. [M, D]
        scores: Of every mask. [M]
    """
    sizes = evidence.sizes()
    views = evidence.view_of[: evidence.mask_count]
    photos, seen_by, means, vectors, size = [], [], [], [], []
    for node, rows in enumerate(tree.members):
        overlap = Overlap.of(evidence, rows)
        ious = overlap.ious(evidence, sizes)
        own = np.flatnonzero(ious >= OWN_IOU)
        is_left = node >= len(tree.members) - tree.leftovers
        photos.append(0 if is_left else len(np.unique(views[overlap.masks[own]])))
        if not len(own) and len(ious):
            own = np.array([ious.argmax()])
        masks = overlap.masks[own]
        in_photo = overlap.photos[views[masks]] / max(overlap.photos.max(), 1e-9)
        means.append(np.average(levels[masks], weights=ious[own]) if len(own) else 0.0)
        vectors.append(_consensus(embeddings[masks].astype(np.float32), ious[own] * in_photo * scores[masks]))
        seen_by.append(int(overlap.visible().sum()))
        size.append(overlap.photos.sum())
    order = _wholes_first(tree.parents, photos, size)
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return Things(
        starts=np.cumsum([0] + [len(tree.members[node]) for node in order]).astype(np.int64),
        members=np.concatenate([tree.members[node] for node in order]).astype(np.int32),
        parents=np.array([-1 if tree.parents[n] < 0 else rank[tree.parents[n]] for n in order], np.int32),
        photos=np.array(photos, np.int32)[order],
        seen_by=np.array(seen_by, np.int32)[order],
        levels=np.array(means, np.float32)[order],
        embeddings=np.stack(vectors)[order].astype(np.float16),
    )


def _consensus(embeddings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of embeddings [n, D] by weight [n], without those that fit the others badly.

    Returns:
        A unit vector, zeros for none. [D]
    """
    mean = weights @ embeddings
    if not len(embeddings):
        return mean
    cosines = embeddings @ mean / max(float(np.linalg.norm(mean)), 1e-12)
    kept = cosines >= cosines.mean() - OUTLIER * cosines.std()
    mean = weights[kept] @ embeddings[kept]
    return mean / max(float(np.linalg.norm(mean)), 1e-12)


def _wholes_first(parents: Sequence[int], photos: Sequence[int], size: Sequence[float]) -> np.ndarray:
    """An order of nodes in which each comes after its parent; of others, what most photos cut out first."""
    depth = np.zeros(len(parents), int)
    for node in range(len(parents)):
        above = parents[node]
        while above >= 0:
            depth[node] += 1
            above = parents[above]
    return np.lexsort((-np.asarray(size), -np.asarray(photos), depth))


def things_of_scene(
    workspace: Workspace,
    capture: Capture,
    gaussians: Gaussians,
    splats_hash: str,
    *,
    unchanged: Callable[[], bool] = lambda: True,
    progress: Reporter = SILENT,
) -> tuple[Things, str]:
    """The things of a scene, as its folder has them; found anew when masks, Gaussians or the way changed.

    What is found is kept in `things.safetensors`, if that can be written and the folder still holds what it
    was found from: another process may have made the scene anew meanwhile, or be about to. While masks are
    being made again, or some are not of this scene, things of its Gaussians stay what they were.

    Args:
        workspace: Folder of the scene.
        capture: Its photos.
        gaussians: Its Gaussians.
        splats_hash: Their hash, see `gags.distill.field.splats_hash`.
        unchanged: Whether the folder still holds these Gaussians and this capture.
        progress: Told about progress.

    Returns:
        The things, none if no photo ever had masks; and the stamp of all that they are found from, today: the
        Gaussians, the masks of the photos, and the way.

    Raises:
        WorkspaceError: If masks are damaged or of another scene, and no things are known.
    """
    views = [view for view in capture.train if workspace.description(view.name).exists()]
    items = Descriptions(workspace, views)
    key = _stamp(splats_hash, items)
    doubt = _doubt(workspace, Descriptions(workspace, capture.train)) if views else ""
    # Without masks nothing can be found anew, so what was found of these Gaussians stays.
    if views and not doubt:
        known = Things.load(workspace.things, stamp=key)
        if known is None and not workspace.is_writable():
            # What cannot be kept would be found anew each time: things of the former way will do.
            known = Things.load(workspace.things, stamp=stamp(splats_hash, items.stamps()))
    else:
        known = Things.load(workspace.things, splats=splats_hash)
    if known is not None and len(known.members) and known.members.max() >= len(gaussians):
        known = None
    if views and not doubt and known is not None and len(known) and not _has_length_of(items, known):
        known = None
    if doubt and known is None:
        raise WorkspaceError(doubt)
    if doubt:
        progress.warn(f"{doubt}; until then the things are those that were found before")
    if known is not None or not views:
        return known or Things.none(), key
    folder = workspace.root if workspace.is_writable() else None
    things = find_things(gaussians, items, folder=folder, progress=progress)
    try:
        with workspace.lock():
            if unchanged() and key == _stamp(splats_hash, Descriptions(workspace, views)):
                things.save(workspace.things, key, splats_hash)
            else:
                progress.warn(
                    f"{workspace.root} was made anew meanwhile; the things found are not kept in it"
                )
    except WorkspaceError as error:  # another process makes something of it
        progress.say(f"the things found are not kept: {error}")
    except OSError:
        progress.say(
            f"{workspace.things} cannot be written; the things of the scene are found anew every time"
        )
    return things, key


def _stamp(splats_hash: str, items: Descriptions) -> str:
    """Of all that things are found from, and of the way."""
    return stamp(splats_hash, items.stamps(), WAY)


def _has_length_of(items: Descriptions, things: Things) -> bool:
    """Whether the embeddings of things are as long as those of the masks that they were found from."""
    try:
        return things.embeddings.shape[1] == items[0][1].embeddings.shape[1]
    except WorkspaceError:  # masks that are damaged say nothing against things that are known
        return True


def _doubt(workspace: Workspace, items: Descriptions) -> str:
    """Why the masks of a scene cannot be taken for those that it was made with; empty if they can."""
    record = workspace.record("describe")
    if record is None:
        return ""
    try:
        items.check(record.stamp)
    except DamagedError as error:
        return str(error)
    return ""
