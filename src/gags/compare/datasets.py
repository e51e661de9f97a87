"""The data sets of the paper's tables as people have them on disk: their scenes, photos and labels."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gags.errors import CompareError
from gags.evaluate.labels import LabelsBy


@dataclass(frozen=True)
class Dataset:
    """A data set of several captures with labels.

    Attributes:
        name: What the command line calls it, and the tables their mean over its scenes.
        title: What people call it.
        scenes: Folders of its captures, in the order of the paper's tables.
        inside: Folder that the captures may lie in, below the one that was named.
        labels_by: How labels name their photo: by the photo's name, or by its position among all names.
        photos: Folder of the photos that a scene is usually scored with; "images" for those not named.
    """

    name: str
    title: str
    scenes: tuple[str, ...]
    inside: str
    labels_by: LabelsBy = "name"
    photos: dict[str, str] = field(default_factory=dict)


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("lerf-ovs", "LERF-OVS", ("ramen", "teatime", "waldo_kitchen", "figurines"), "lerf_ovs"),
        Dataset(
            "mip360-ovs",
            "Mip-NeRF360-OVS",
            ("room", "counter", "garden", "bonsai"),
            "mip360_ovs",
            labels_by="position",
            # Half the size indoors, a quarter outdoors, as everyone since Mip-NeRF 360 trains on them.
            photos={"room": "images_2", "counter": "images_2", "garden": "images_4", "bonsai": "images_2"},
        ),
    )
}
"""Every data set by name."""


@dataclass(frozen=True)
class SceneFiles:
    """Where one scene of a data set lies.

    Attributes:
        name: Name of the scene.
        capture: Folder of photos and poses.
        labels: Folder of its labels.
        photos: Folder of the photos in `capture`; None leaves the choice to who reads them.
    """

    name: str
    capture: Path
    labels: Path
    photos: str | None


def named_dataset(name: str) -> Dataset:
    """The data set of a name.

    Raises:
        CompareError: If there is none.
    """
    if name not in DATASETS:
        raise CompareError(f"there is no data set {name!r}; there are: {', '.join(DATASETS)}")
    return DATASETS[name]


def chosen_scenes(dataset: Dataset, names: Sequence[str]) -> tuple[str, ...]:
    """Some scenes of a data set, each once, in the order of the paper's tables; all if none is named.

    Raises:
        CompareError: If the data set has no scene of such a name.
    """
    unknown = [name for name in names if name not in dataset.scenes]
    if unknown:
        raise CompareError(
            f"{dataset.name} has no scene {unknown[0]!r}; --scenes takes some of: {', '.join(dataset.scenes)}"
        )
    return tuple(scene for scene in dataset.scenes if not names or scene in names)


def dataset_folder(dataset: Dataset, folder: Path) -> Path:
    """The folder whose children are the scenes: the one that was named, or one in it.

    Raises:
        CompareError: If neither holds a scene of the data set.
    """
    places = (folder, folder / dataset.inside)
    for place in places:
        if any((place / scene).is_dir() for scene in dataset.scenes):
            return place
    reason = "is not there" if not folder.exists() else f"holds no scene of {dataset.title}"
    raise CompareError(f"{folder} {reason}; give the folder that holds {', '.join(dataset.scenes)} and label")


def find_scene(dataset: Dataset, root: Path, name: str, labels: Path | None = None) -> SceneFiles:
    """Photos and labels of one scene.

    Args:
        dataset: The data set.
        root: Folder whose children are the scenes, see `dataset_folder`.
        name: Name of the scene.
        labels: Folder that holds a folder of labels a scene. Default: `label` in `root`, else `label` in the
            folder of the scene.

    Raises:
        CompareError: If the scene or its labels are not there.
    """
    capture = root / name
    if not capture.is_dir():
        raise CompareError(f"{capture} is not there; put the scene there, or leave it out with --scenes")
    places = (root / "label" / name, capture / "label") if labels is None else (labels / name,)
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        where = " nor ".join(map(str, places))
        raise CompareError(f"there are no labels of {name}: not in {where}; put them there (--labels)")
    usual = dataset.photos.get(name)
    return SceneFiles(name, capture, found, usual if usual and (capture / usual).is_dir() else None)
