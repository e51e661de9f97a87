"""GOI (Qu et al., ACM MM 2024): every Gaussian points at a code of a codebook; a text is a fitted hyperplane.

Written from the paper. What differs:

- The paper's embeddings of pixels are those of APE, which `transformers` does not have. Here a pixel has the
  mean, L2-normalised, of the embeddings of the masks that cover it, at most one of each level. Pixels without
  a mask take no part.
- Grounding DINO and SAM look for a text in one photo, the one of several where it scores best, and the
  hyperplane is fitted there. The detector's second threshold, 0.25 on single words, is left out: a text is
  one phrase. With other embeddings than APE's, the published start of the hyperplane selects
  nearly everything: see `gags.compare.hyperplane`.
- Gaussians and their colours are given, so pixels of all photos are mixed in a step, from blending weights
  that are computed once.
- The codebook has as many codes as there are distinct embeddings, if these are fewer than 300.
- Where there is no Grounding DINO, the row is titled "fitted to our best mask": the hyperplane is fitted to
  the largest of the ten masks, of all photos and levels, whose embeddings have the highest relevancy. To the
  very best, often a scrap of few pixels, a plane that learns from a whole photo never gets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from gags.capture import Camera
from gags.compare.codes import assignment_loss, codebook_loss, reading_loss, start_codes
from gags.compare.detector import AUTO, NONE, SWIN_T, choose_detector
from gags.compare.grounding import Grounder, places_of
from gags.compare.hyperplane import Hyperplane, PlaneStart, calibrated_start, fit, published_start
from gags.compare.methods.learner import DAMAGED_EMBEDDINGS, REMEDY, Inputs
from gags.compare.pixels import Pixels, draw_pixels
from gags.distill.samples import batch_for
from gags.embed.encoder import Encoder
from gags.evaluate.answerer import Selections
from gags.files.ranges import BATCH, PIXELS, STEPS, TOP_K, Settings, ranged
from gags.gaussians import Gaussians, render
from gags.progress import SILENT, Reporter
from gags.query.maps import KNOWN_ALPHA, ValueMaps
from gags.query.relevancy import Queries
from gags.store import check_finite, damaged, load_tensors, loss_note, save_tensors

FEATURE_LENGTH = 10  # numbers of a Gaussian
FEATURE_RATE = 5e-3  # of Adam
LINEAR_RATE = 3e-3
CODE_RATE = 1e-3
SHARPER_FROM = 1000  # step from which on the entropy is that of softmax(2 · cosine), not of softmax(cosine)
BOX_SCORE = 0.3  # of Grounding DINO
PIXELS_AT_ONCE = 1 << 16  # read together; bounds memory


@dataclass(frozen=True)
class GoiSettings(Settings, prefix="goi"):
    """How GOI is trained."""

    steps: int = ranged(1500, STEPS)
    """Optimisation steps."""
    batch: int = ranged(4096, BATCH)
    """Pixels a step, for up to 100,000 Gaussians; for more, as many times more."""
    detector: str = AUTO
    """What looks for texts in photos: a Grounding DINO by hub id or folder, none, or auto: Grounding DINO
    with Swin-T if it is on this machine or can be fetched, else none."""

    def ready(self, progress: Reporter = SILENT) -> "GoiSettings":
        """The same, with the detector that is meant on this machine.

        Raises:
            ModelError: If a detector is asked for that is not there and cannot be fetched.
        """
        return replace(self, detector=choose_detector(self.detector, SWIN_T, progress))


@dataclass(frozen=True)
class Goi(Settings):
    """Learns features, the linear layer that reads them, and the codebook."""

    answers: ClassVar[int] = 2

    settings: GoiSettings = GoiSettings()
    """Settings of its own."""
    plane: PlaneStart = "published"
    """Where a text's hyperplane starts: with the published constants, or calibrated to the encoder."""
    pixels_per_photo: int = ranged(24_000, PIXELS)
    """Pixels drawn from every photo."""
    top_k: int = ranged(16, TOP_K)
    """Gaussians kept per pixel."""

    def title(self) -> str:
        """What it is, for the table."""
        parts = ["calibrated"] if self.plane == "calibrated" else []
        parts += ["fitted to our best mask"] if self.settings.detector == NONE else []
        return f"GOI ({', '.join(parts)})" if parts else "GOI"

    def learn(self, inputs: Inputs, seed: int, path: Path, progress: Reporter) -> None:
        """Draw pixels, start the codebook, train; see `Learner.learn`."""
        embeddings = inputs.embeddings()  # refuses a scene without masks
        pixels = draw_pixels(
            inputs.gaussians,
            inputs.items,
            per_photo=self.pixels_per_photo,
            top_k=self.top_k,
            seed=seed,
            progress=progress,
        )
        pixels = pixels.subset((pixels.masks >= 0).any(dim=1))
        truth, owners = distinct_embeddings(pixels.masks, embeddings)
        features, reader, codes = self._train(len(inputs.gaussians), pixels, truth, owners, seed, progress)
        learnt = CodedGaussians(
            inputs, features, reader, normalize(codes, dim=1), inputs.encoder.name, self.plane
        )
        learnt.save(path)

    def load(self, path: Path, inputs: Inputs) -> "CodedGaussians":
        """What `learn` wrote."""
        grounder = None
        detector = self.settings.ready().detector
        if detector != NONE:
            grounder = Grounder(detector, inputs.segmenter, inputs.views, BOX_SCORE)
        return CodedGaussians.load(path, inputs, self.plane, grounder)

    def _train(
        self, count: int, pixels: Pixels, truth: Tensor, owners: Tensor, seed: int, progress: Reporter
    ) -> tuple[Tensor, nn.Linear, Tensor]:
        """Features [N, 10], linear layer and codes [K, C]; `owners` has the row of `truth` of each pixel."""
        rng = torch.Generator().manual_seed(seed)
        codes = nn.Parameter(start_codes(truth, torch.bincount(owners, minlength=len(truth)), rng))
        features = nn.Parameter(torch.zeros(count, FEATURE_LENGTH, device=truth.device))
        reader = new_reader(len(codes), seed, truth.device)
        optimizer = torch.optim.Adam(
            [
                {"params": [features], "lr": FEATURE_RATE},
                {"params": reader.parameters(), "lr": LINEAR_RATE},
                {"params": [codes], "lr": CODE_RATE},
            ]
        )
        steps, size = self.settings.steps, batch_for(self.settings.batch, count)
        with progress.stage("Training codes", steps, "steps") as bar:
            for step in range(steps):
                batch = torch.randint(len(pixels), (size,), generator=rng).to(truth.device)
                logits = reader(pixels.blended(features, batch))
                rows, own = owners[batch].unique(return_inverse=True)
                temperature = 1.0 if step < SHARPER_FROM else 2.0
                loss = goi_loss(logits, truth[rows], own, codes, temperature)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                bar.advance(note=loss_note(loss, step, DAMAGED_EMBEDDINGS))
        check_finite(steps, {"a feature": features}, DAMAGED_EMBEDDINGS)
        return features.detach(), reader.requires_grad_(False), codes.detach()


def new_reader(codes: int, seed: int, device: torch.device) -> nn.Linear:
    """The linear layer from 10 numbers to the codes, with PyTorch's random start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(FEATURE_LENGTH, codes).to(device)


def distinct_embeddings(masks: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """What pixels should say, each distinct embedding once.

    Args:
        masks: Masks that cover each pixel, -1 where there is none, one at least. int [P, L]
        embeddings: Of all masks, L2-normalised. [M, C]

    Returns:
        Means of the embeddings of masks, L2-normalised [R, C], and the row of each pixel, int64 [P].
    """
    sets, owners = masks.long().unique(dim=0, return_inverse=True)
    sums = torch.zeros(len(sets), embeddings.shape[1], device=embeddings.device)
    for column in sets.T:
        sums += torch.where((column >= 0)[:, None], embeddings[column.clamp(min=0)], 0)
    return normalize(sums, dim=1), owners


def goi_loss(logits: Tensor, truth: Tensor, owners: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """Codebook, assignment of pixels to codes, and what is read in the end, in one sum.

    Args:
        logits: Of every pixel and code. [B, K]
        truth: Distinct embeddings, L2-normalised. [R, C]
        owners: Row of `truth` of each pixel. int64 [B]
        codes: The codebook. [K, C]
        temperature: Of the entropy.
    """
    cosines = truth @ normalize(codes, dim=1).T
    loss = codebook_loss(cosines, torch.bincount(owners, minlength=len(truth)), temperature)
    nearest = cosines.detach().argmax(dim=1)[owners]
    return loss + assignment_loss(logits, nearest) + reading_loss(logits, owners, cosines)


# --- asking ---


@dataclass(frozen=True, eq=False)
class CodedGaussians:
    """Gaussians that point at codes; implements `Answerer` and `Selector`.

    Attributes:
        inputs: What it was learnt from: the masks are needed where there is no `grounder`.
        features: What is kept of every Gaussian. float32 [N, 10]
        reader: From 10 numbers to the codes.
        codes: L2-normalised. float32 [K, C]
        encoder_name: Encoder of the embeddings.
        start: Where a text's hyperplane starts.
        grounder: What looks for texts in photos; None to fit to the best mask.
        planes: Of the texts that were prepared.
    """

    inputs: Inputs
    features: Tensor
    reader: nn.Linear
    codes: Tensor
    encoder_name: str
    start: PlaneStart = "published"
    grounder: Grounder | None = None
    planes: dict[str, Hyperplane] = field(default_factory=dict)

    @property
    def gaussians(self) -> Gaussians:
        """The scene."""
        return self.inputs.gaussians

    def prepare(self, texts: Sequence[str], encoder: Encoder) -> Queries:
        """Fit the hyperplane of every text; those fitted before are remembered."""
        queries = Queries.encode(texts, encoder, self)
        new = [text for text in dict.fromkeys(texts) if text not in self.planes]
        if not new:
            return queries
        rows = queries.subset([queries.texts.index(text) for text in new])
        targets = places_of(rows, self.grounder, self.inputs.items, self.inputs.embeddings())
        for text, vector, target in zip(new, rows.vectors, targets, strict=True):
            plane = published_start(vector)
            if self.start == "calibrated":
                plane = calibrated_start(vector, self.codes, queries.negatives)
            # Where the text is found in no photo there is nothing to fit to: the plane stays at its start.
            self.planes[text] = plane if target is None else self._fitted(plane, *target)
        return queries

    @torch.no_grad()
    def relevancy(self, camera: Camera, queries: Queries) -> ValueMaps:
        """Sigmoid of the hyperplane's score at every pixel; the mask is where that is above a half."""
        drawn = render(self.gaussians, camera, self.features)
        values = self._scores(queries)[:, self._read(drawn.colors.flatten(0, 1))].sigmoid()
        values = values.unflatten(1, drawn.alphas.shape)
        return ValueMaps(values, drawn.alphas >= KNOWN_ALPHA, masks=values > 0.5)

    @torch.no_grad()
    def select(self, queries: Queries) -> Selections:
        """Gaussians whose own code lies on the positive side of each text's hyperplane."""
        return Selections(self.gaussians, self._scores(queries)[:, self._read(self.features)] > 0)

    def _scores(self, queries: Queries) -> Tensor:
        """Score of every code for every text. [T, K]"""
        return torch.stack([self.planes[text].scores(self.codes) for text in queries.texts])

    def _read(self, features: Tensor) -> Tensor:
        """Code that features point at. [P, 10] → int64 [P]"""
        parts = features.split(PIXELS_AT_ONCE)
        return torch.cat([linear(p, self.reader.weight, self.reader.bias).argmax(dim=1) for p in parts])

    @torch.no_grad()
    def _fitted(self, plane: Hyperplane, camera: Camera, mask: Tensor) -> Hyperplane:
        """A plane fitted to a mask [H, W] of one view."""
        drawn = render(self.gaussians, camera, self.features)
        codes, mask = self._read(drawn.colors.flatten(0, 1)), mask.flatten().to(self.codes.device)
        inside, outside = (torch.bincount(codes[part], minlength=len(self.codes)) for part in (mask, ~mask))
        return fit(plane, self.codes, inside, outside)

    def save(self, path: Path) -> None:
        """Write to a safetensors file, atomically; features are kept as float16."""
        tensors = {
            "features": self.features.half(),
            "reader.weight": self.reader.weight,
            "reader.bias": self.reader.bias,
            "codes": self.codes,
        }
        save_tensors(path, tensors, {"encoder": self.encoder_name})

    @classmethod
    def load(
        cls, path: Path, inputs: Inputs, start: PlaneStart = "published", grounder: Grounder | None = None
    ) -> "CodedGaussians":
        """Read what `save` wrote.

        Raises:
            WorkspaceError: If the file is missing or damaged.
        """
        stored = load_tensors(path, remedy=REMEDY)
        device = inputs.gaussians.means.device
        try:
            tensors = {name: tensor.to(device) for name, tensor in stored.tensors.items()}
            reader = new_reader(len(tensors["codes"]), 0, device).requires_grad_(False)
            reader.load_state_dict({name: tensors[f"reader.{name}"] for name in ("weight", "bias")})
            features, name = tensors["features"].float(), stored.metadata["encoder"]
            return cls(inputs, features, reader, tensors["codes"], name, start, grounder)
        except (KeyError, RuntimeError) as error:
            raise damaged(path, error, REMEDY) from error
