"""Table 4 of the paper without any encoder: what prompts and containment do to the masks themselves.

    python -m benchmarks.granularity.run CAPTURE SCENE --out DIR [--photos 6] [--arms crops density …]
        [--segmenter mobile-sam] [--json]

CAPTURE has `objects.json` and `instance/` (exact maps of every photo), or `labels/` alone; then only labelled
photos are studied. SCENE is a scene of it with Gaussians, only read. Photos are told apart by how far away
what they show is: near, middle, far. Every arm places prompts in another way; masks are cut once and kept in
--out, so that a run that was stopped goes on where it was. All arms share the encoding of a photo, and both
ways of containment the candidates.

Two things are measured, level by level, on label maps as distillation sees them:

- *found*: share of the objects whose best mask, that of the largest IoU, is the object (IoU at least 0.5),
  both near and far. Every object counts alike; of an object the mean over all pairs of a near and a far photo
  that see at least 150 px of it. "any" takes for each photo the level that is best there.
- *IoU*: of the best mask that lies on an object (more than half of it), the largest IoU with a mask of the
  same level in the other photo, masks being sets of Gaussians as in `gags.distill.consensus`, on the surface
  that both photos see. Without such a mask it is 0. Mean of both directions, then as above.

Intervals hold 95 % of 10,000 draws of objects, near and far photos, the same for the two arms compared.
Prompts are drawn once, so chance in their places is part of the difference.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.granularity.photos import RINGS
from benchmarks.granularity.study import cut_all, measured, open_study
from benchmarks.granularity.tables import all_tables, to_json
from gags.cli.console import ConsoleReporter
from gags.errors import GagsError
from gags.segment import load_segmenter


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("capture", type=Path)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of masks that are kept")
    parser.add_argument("--photos", type=int, default=6, help="of each ring")
    parser.add_argument("--arms", nargs="+", default=[], metavar="ARM")
    parser.add_argument("--rings", nargs=2, choices=RINGS, default=("near", "far"))
    parser.add_argument("--segmenter", default="mobile-sam")
    parser.add_argument("--only-compare", action="store_true", help="use the masks that are there; cut none")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    if arguments.photos < 1:
        parser.error("--photos must be at least 1")
    progress = ConsoleReporter()
    try:
        study = open_study(
            arguments.capture,
            arguments.scene,
            arguments.out,
            arguments.photos,
            arguments.arms,
            progress=progress,
        )
        if not arguments.only_compare:
            cut_all(study, load_segmenter(arguments.segmenter, progress), progress=progress)
        one, other = (RINGS.index(ring) for ring in arguments.rings)
        outcomes = measured(study, (one, other), progress=progress)
        if arguments.json:
            photos = {photo.view.name: RINGS[photo.ring] for photo in study.photos}
            about = {"objects": study.objects.names, "photos": photos}
            print(json.dumps(about | to_json(study.arms, outcomes), indent=2))
        else:
            print(all_tables(study.arms, outcomes))
    except GagsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
