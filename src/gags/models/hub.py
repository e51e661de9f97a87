"""Models of the Hugging Face hub and local folders in its format: names, where they are, fetching them.

A name is a hub id ("facebook/sam-vit-huge"), a hub id at a revision ("facebook/sam-vit-huge@main"), or a
folder. `HF_HOME` and `HF_HUB_CACHE` say where fetched models lie, `HF_HUB_OFFLINE=1` forbids fetching,
`HF_ENDPOINT` names a mirror. Only safetensors are fetched and read, never pickles.

`huggingface_hub` fetches. Asking first whether the hub answers is this module's own: of a hub that takes
connections and never answers, the client alone had not given up after 600 s, this module does after 2.2 s
(`benchmarks/silent_hub.py`).
"""

import functools
import hashlib
import json
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any, Literal

from gags.errors import ModelError
from gags.models.known import HUB_MODELS, MODEL_TYPES, HubModel, Kind
from gags.progress import SILENT, Reporter

PROBE_SECONDS = 2.0
"""How long the hub may take to answer at all; a machine without a network waits this long, once a process."""

REQUEST_SECONDS = 10.0
"""How long single requests may take once the hub has answered."""

PLAIN_FILES = (
    "config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json", "vocab.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt", "spiece.model",
    "tokenizer.model",
)  # fmt: skip
"""What is fetched of a repository besides its weights."""

WEIGHTS, SHARDS, OPEN_CLIP_WEIGHTS = (
    "model.safetensors", "model.safetensors.index.json", "open_clip_model.safetensors",
)  # fmt: skip

# As the hub has it: owner and name begin and end with a letter, a digit or _; neither -- nor .. is in them.
_HUB_PART = r"(?!\S*(?:--|\.\.))\w(?:[\w.-]{0,94}\w)?"
_HUB_ID = re.compile(rf"{_HUB_PART}/{_HUB_PART}(@\w[\w./-]*)?", re.ASCII)
_STAMPED = re.compile(r"(.+)@([0-9a-f]{12})")
_SAMPLES, _SAMPLE_BYTES = 64, 4096  # of each file of weights, for the fingerprint of a folder


class HubError(ModelError):
    """A model of the hub that is not on this machine and cannot be fetched.

    Attributes:
        reason: Why, in a few words.
    """

    def __init__(self, name: str, reason: str) -> None:
        repo, revision = split(name)
        entry = known(repo)
        size = f" ({entry.size / 1e6:,.0f} MB)" if entry else ""
        # As a relative path it would be in a folder that is there: that is more likely what was meant.
        near = "" if entry or not Path(repo).parent.is_dir() else f" (nor is there a folder {repo} here)"
        super().__init__(
            f"{repo}{size} is not on this machine{near}, and {reason}. By hand: where there is a network, "
            f"run `hf download {repo} --revision {revision} --local-dir FOLDER` (or take the files from "
            f"{endpoint()}/{repo}/tree/{revision}), bring FOLDER here, and give its path instead of {repo}"
        )
        self.reason = reason


def is_name(name: str) -> bool:
    """Whether a name has the form of a folder or of a hub id."""
    return "/" in name or os.sep in name or Path(name).is_dir()


def known(repo: str) -> HubModel | None:
    """What gags knows of a repository."""
    return next((entry for entry in HUB_MODELS if entry.repo == repo), None)


def split(name: str) -> tuple[str, str]:
    """Repository and revision of a hub id; the pinned revision, or "main", if it names none."""
    repo, _, revision = name.partition("@")
    entry = known(repo)
    return repo, revision or (entry.revision if entry else "main")


def without_revision(name: str) -> str:
    """The name of a model without the commit behind it, as people know it."""
    return name.partition("@")[0]


def ensure(name: str, progress: Reporter = SILENT) -> Path:
    """Folder of a model, fetched first if it is a hub id that is not on this machine.

    Raises:
        HubError: If it is a hub id and cannot be fetched.
        ModelError: If it is neither a folder nor a hub id, or the folder's weights have changed.
    """
    return folder_of(name) or _fetch(name, progress)


def canonical(name: str) -> str:
    """The name that identifies a model with its weights: a hub id with its commit, or a folder's path with a
    fingerprint of its weights.

    Raises:
        ModelError: If it is not on this machine.
    """
    folder = folder_of(name)
    if folder is None:
        raise HubError(name, "it must be there to be named")
    if local_folder(name) is None:
        return f"{split(name)[0]}@{folder.name}"  # the cache calls the folder of a revision by its commit
    return f"{folder}@{fingerprint(folder)}"


def folder_of(name: str) -> Path | None:
    """Folder of a model on this machine; None if it is a hub id that has not been fetched, or not wholly.

    Raises:
        ModelError: If it is neither a folder nor a hub id, or the folder's weights have changed.
    """
    folder = local_folder(name)
    if folder is not None:
        return folder
    from huggingface_hub import try_to_load_from_cache

    repo, revision = split(name)
    config = try_to_load_from_cache(repo, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if weight_files(folder) else None


def local_folder(name: str) -> Path | None:
    """The folder that a name stands for; None if it is a hub id.

    Raises:
        ModelError: If it is neither, or the weights are not those that the name was given to.
    """
    folder = Path(name).expanduser()
    stamped = None if folder.is_dir() else _STAMPED.fullmatch(name)
    if stamped:
        folder = Path(stamped[1])
    if folder.is_dir():
        folder = folder.resolve()
        if not (folder / "config.json").is_file() or not weight_files(folder):
            raise ModelError(
                f"{folder} holds no model in the hub's format: it needs config.json and {WEIGHTS}, whole"
            )
        if stamped and fingerprint(folder) != stamped[2]:
            raise ModelError(
                f"the model in {folder} has changed since it was used here: its fingerprint is "
                f"{fingerprint(folder)}, not {stamped[2]}; put the old files back or describe the scene again"
            )
        return folder
    if _HUB_ID.fullmatch(name) is None:
        raise ModelError(
            f"there is no folder {stamped[1] if stamped else name}; put it back, or check the path"
        )
    return None


def kind_of(folder: Path) -> Kind | Literal[""]:
    """What the model of a folder is for, by its `model_type`; empty if it is neither."""
    model_type = read_json(folder / "config.json").get("model_type")
    for kind, types in MODEL_TYPES.items():
        if model_type in types:
            return kind
    return ""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model's folder.

    Raises:
        ModelError: If the file is missing or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); fetch the model's files again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object; fetch the model's files again")
    return content


def weight_files(folder: Path) -> list[Path]:
    """Files of weights in a folder; none if there is none that gags reads, or a part is missing."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / SHARDS).is_file():
        parts = sorted({folder / part for part in read_json(folder / SHARDS).get("weight_map", {}).values()})
        return parts if all(part.is_file() for part in parts) else []
    return [folder / OPEN_CLIP_WEIGHTS] if (folder / OPEN_CLIP_WEIGHTS).is_file() else []


def fingerprint(folder: Path) -> str:
    """Twelve hex digits that change with the configuration or the weights of a folder.

    Hashes evenly spread samples of the weights, because whole files of gigabytes would take seconds.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in weight_files(folder):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with open(path, "rb") as file:
            for number in range(_SAMPLES):
                file.seek(number * max(0, size - _SAMPLE_BYTES) // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:12]


def offline() -> bool:
    """Whether the user forbids the network (`HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`)."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in ("1", "ON", "YES", "TRUE")


def endpoint() -> str:
    """Address of the hub, or of the mirror that `HF_ENDPOINT` names."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def cache() -> Path:
    """Folder that fetched models lie in."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


@functools.cache
def reachable() -> bool:
    """Whether the hub answers; asked once a process, never if the user forbids the network."""
    if offline():
        return False
    answers: list[int] = []
    # In a thread, since no timeout of a request bounds how long looking up the address takes.
    thread = threading.Thread(target=lambda: answers.append(_probe()), daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS + 0.5)
    return bool(answers) and 0 < answers[0] < 500


def _probe() -> int:
    """Status of a request to the hub; 0 if there is no answer."""
    try:
        from huggingface_hub import get_session

        return get_session().head(endpoint(), timeout=PROBE_SECONDS).status_code
    except Exception:  # whatever the client's library raises: no answer
        return 0


def _fetch(name: str, progress: Reporter) -> Path:
    repo, revision = split(name)
    if offline():
        raise HubError(name, "HF_HUB_OFFLINE forbids fetching it")
    if not reachable():
        raise HubError(name, f"{endpoint()} does not answer")
    import huggingface_hub

    try:
        sizes = _wanted(name)
        progress.say(f"Fetching {repo} ({sum(sizes.values()) / 1e6:,.0f} MB) from {endpoint()}")
        if not sys.stderr.isatty():
            huggingface_hub.utils.disable_progress_bars()
        folder = huggingface_hub.snapshot_download(
            repo, revision=revision, allow_patterns=list(sizes), etag_timeout=REQUEST_SECONDS
        )
    except ModelError:
        raise
    except Exception as error:  # the client's library decides what it raises; all mean the same here
        reason = " ".join(str(error).split()) or type(error).__name__
        raise HubError(name, f"fetching it failed ({type(error).__name__}: {reason[:300]})") from error
    return Path(folder)


def _wanted(name: str) -> dict[str, int]:
    """Names and sizes in bytes of the files of a repository that gags needs."""
    from huggingface_hub import HfApi

    repo, revision = split(name)
    info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=REQUEST_SECONDS)
    sizes = {entry.rfilename: entry.size or 0 for entry in info.siblings or []}
    if WEIGHTS in sizes:
        weights = [WEIGHTS]
    elif SHARDS in sizes:
        weights = [SHARDS, *(file for file in sizes if re.fullmatch(r"model-\d+-of-\d+\.safetensors", file))]
    elif OPEN_CLIP_WEIGHTS in sizes:
        weights = [OPEN_CLIP_WEIGHTS]
    else:
        raise HubError(name, "the hub has no safetensors of it, only pickles, which gags does not load")
    return {file: sizes[file] for file in (*PLAIN_FILES, *weights) if file in sizes}
