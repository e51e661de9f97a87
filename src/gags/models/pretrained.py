"""Loading `transformers` models from a folder: safetensors only, quietly, and only if nothing is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from gags.errors import ModelError

SHOWN_KEYS = 3  # names of missing weights that an error lists


def load_pretrained(
    model_class: Any, folder: Path, *, config: Any = None, weights: dict[str, torch.Tensor] | None = None
) -> Any:
    """Load a model in single precision, ready for inference on the CPU; nothing is fetched, nothing pickled.

    Args:
        model_class: A model class of `transformers`.
        folder: Holds `config.json` and the weights as safetensors.
        config: Stands in for the configuration of the folder; must be given with `weights`.
        weights: Stand in for those of the folder.

    Raises:
        ModelError: If a file is missing or damaged, or weights of the model are not in the files; they would
            stay random.
    """
    options = {"config": config, "state_dict": weights}
    try:
        with quiet():
            model, info = model_class.from_pretrained(
                folder if weights is None else None,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                dtype=torch.float32,
                **{key: value for key, value in options.items() if value is not None},
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{folder} cannot be loaded as {model_class.__name__}: {reason}") from error
    _check_weights(info, folder, model_class.__name__)
    return model.eval().requires_grad_(False)


def _check_weights(info: dict[str, Any], folder: Path, name: str) -> None:
    """Refuse a model of which weights were missing or of other shapes.

    Args:
        info: What `from_pretrained` tells about loading.
        folder: Where the files are.
        name: The model class.
    """
    lacking = sorted([*info["missing_keys"], *(str(entry[0]) for entry in info["mismatched_keys"])])
    if lacking:
        shown = ", ".join(lacking[:SHOWN_KEYS]) + (" …" if len(lacking) > SHOWN_KEYS else "")
        raise ModelError(
            f"the weights in {folder} are not those of a whole {name}: {len(lacking)} are missing or of "
            f"another shape ({shown}); fetch them again, or take another model"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep `transformers` from writing bars and warnings between gags's own lines."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
