"""A scene as rows of a library: what each thing and part of it looks like, where it is, what it is called."""

import io
from typing import Any

import numpy as np
from PIL import Image

from gags.draw.lettering import fit_within
from gags.errors import LibraryError
from gags.library.nodes import Means, Nodes, embeddings_of_things
from gags.library.rank import Phrases
from gags.progress import SILENT, Reporter
from gags.query.names import EVERYDAY, Namer
from gags.query.space import Space
from gags.report.things import pictures_of_nodes
from gags.scene import Scene

NAMES_KEPT = 3
THUMBNAIL_SIDE = 256  # px, of the longest side
THUMBNAIL_QUALITY = 85  # of JPEG


def rows_of_scene(scene: Scene, *, progress: Reporter = SILENT) -> tuple[list[dict[str, Any]], Nodes]:
    """What a library keeps of every thing of a scene, of its parts and of groups; and the tree of them.

    What no photo cuts out, and what no mask touches, is left out: it has nothing to be compared by.

    Args:
        scene: The scene.
        progress: Told about progress.

    Returns:
        Columns by name for each, see `gags.library.tables.things_schema`; and all nodes, left out ones too.

    Raises:
        LibraryError: If the scene has no things.
    """
    things = scene.things(progress)
    kept = np.flatnonzero((things.photos > 0) & things.embeddings.any(axis=1)).tolist() if len(things) else []
    if not kept:
        raise LibraryError(
            f"{scene.workspace.root} has no things to put into a library: its photos have no masks, or too "
            "few of them agree; run `gags describe`, then `gags distill`"
        )
    space = Space.build(scene.gaussians, things)
    namer = Namer.of_scene(scene.field, scene.queries(EVERYDAY), space.opacities, things)
    pictures = pictures_of_nodes(scene, things, kept, progress=progress)
    phrases = Phrases.of(scene.encoder)
    means = Means.of_scene(scene, things, phrases)
    vectors = embeddings_of_things(things, means)[kept]
    against, kinds = phrases.against(vectors), things.kinds()
    rows = []
    for thing, vector, phrase in zip(kept, vectors, against, strict=True):
        compact = space.without_floaters(things[thing])
        box = space.box(compact)
        view, picture = pictures.get(thing, ("", None))
        rows.append(
            {
                "thing": thing,
                "chain": things.chain(thing),
                "kind": kinds[thing],
                "names": [word for word, _ in namer.names(compact, NAMES_KEPT)],
                "photos": int(things.photos[thing]),
                "seen_by": int(things.seen_by[thing]),
                "center": box.center.tolist(),
                "size": box.size.tolist(),
                "axes": box.axes.ravel().tolist(),
                "low": box.bounds[0].tolist(),
                "high": box.bounds[1].tolist(),
                "view": view,
                "thumbnail": b"" if picture is None else jpeg(picture),
                "vector": np.append(vector, phrase).astype(np.float16),
            }
        )
    return rows, Nodes.of_scene(things, kept, means)


def jpeg(picture: np.ndarray) -> bytes:
    """A picture as a small JPEG file. uint8 RGB [H, W, 3]"""
    buffer = io.BytesIO()
    small = Image.fromarray(fit_within(picture, THUMBNAIL_SIDE))
    small.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return buffer.getvalue()
