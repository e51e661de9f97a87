"""LEGaussians (Shi et al., CVPR 2024): 8 numbers a Gaussian, decoded to one of 64 codes of a codebook.

Each pixel has a dense feature (`gags.compare.dense`), and takes the nearest code of a codebook that is fitted
to them (`gags.compare.codebook`). Each Gaussian holds 8 numbers s and an uncertainty u. Both are rendered. A
small net decodes s, brought to unit length, to logits over the codes. Their cross-entropy with the pixel's
code counts less where u is large.

Written from the paper's description. What it leaves out or swaps:

- The encoder is the scene's. Tiles are squares of a share of the photo's height and lie wholly inside it.
- DINO (weight λ = 0.5) only where its weights are on this machine or can be fetched; else λ is 0, and the
  title says so.
- Geometry and colours are frozen, and pixels of all photos are mixed in a step, from blending weights that
  are computed once. There the Gaussians are trained together with their colours, a photo a step.
- The recipe names no rates but the codebook's, no start and no number of steps: features and uncertainty
  start near 0 and learn at `FEATURE_RATE`, both nets at `NET_RATE`. The smoothness loss takes `SMOOTHED`
  Gaussians at a time; its net gets their positions, scaled by the scene's extent, and nothing else.
- The second row learns from the embeddings of the scene's masks instead of tiles.
- The third row is the second with masks cut by the protocol that scores it. The published bar, "no canonical
  phrase fits better", belongs to CLIP's four vague phrases: by an encoder with many more, most pixels are
  below it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding_bag, normalize

from gags.capture.camera import Camera
from gags.compare.codebook import CODES, Hybrid, nearest_codes, train_codebook
from gags.compare.methods.learner import DAMAGED_EMBEDDINGS, REMEDY, Inputs, Method
from gags.compare.targets import TargetPhoto, TargetPhotos
from gags.distill.decoder import DECODED_AT_ONCE
from gags.distill.samples import batch_for
from gags.distill.settings import DistillSettings
from gags.embed.dino.encoder import NONE, Dino, choose_dino, load_dino
from gags.embed.encoder import Encoder
from gags.errors import CompareError, WorkspaceError
from gags.files.ranges import BATCH, PIXELS, STEPS, TOP_K, Range, Settings, ranged
from gags.gaussians import Gaussians, blend_weights, render
from gags.progress import SILENT, Reporter
from gags.query.maps import KNOWN_ALPHA, ValueMaps
from gags.query.relevancy import Queries
from gags.store import added, check_finite, damaged, load_tensors, loss_note, save_tensors

FEATURE_DIM = 8  # numbers s of a Gaussian
DECODER_WIDTHS = (FEATURE_DIM, 128, 256, CODES)
SMOOTHER_WIDTHS = (3, 128, 128, 128, 128, FEATURE_DIM)
SMOOTH_EVERY = 10  # steps
LEAST_SMOOTHING = 0.1  # pull of the smooth features on a Gaussian that is certain
SMOOTHED = 8192  # Gaussians a time, in scenes of up to 100,000: all would cost more than the other nine steps
FEATURE_RATE = 1e-2  # of features and uncertainties, Adam
NET_RATE = 1e-3  # of both nets, Adam
FIRST_SPREAD = 0.1  # standard deviation of the features at the start
FIRST_DOUBT = -3.0  # logit of the uncertainty at the start: 0.05
LEAST_CERTAINTY = 1e-4  # bounds −log(1 − u)
PIXELS_A_STEP = 4096  # as for LangSplat, Gaussian Grouping and GOI
CODEBOOK_PIXELS = 100_000  # of all photos that the codebook is fitted to; more say nothing new to 64 codes
MASK_RELEVANCY = 0.5  # from which on a pixel belongs to the mask: no canonical phrase fits better


@dataclass(frozen=True)
class LEGaussiansSettings(Settings, prefix="legaussians"):
    """How LEGaussians is trained; the defaults converge."""

    features: str = "auto"
    """DINO beside the encoder: a hub id or a folder of a ViT, none, or auto: DINO ViT-S/8 if it is on this
    machine or can be fetched, else none."""
    photos: int = ranged(0, Range(0, 1_000_000))
    """From how many photos, evenly spread, the dense row learns; 0 for all. Tiles of a photo of 640×480 are
    2.6 thousand; the title of the row names a number that is not 0."""
    codebook_steps: int = ranged(2000, STEPS)
    """Optimisation steps of the codebook."""
    steps: int = ranged(3000, STEPS)
    """Optimisation steps of the features."""
    batch: int | None = ranged(None, BATCH)  # None, so that what was learnt before it was there still counts
    """Pixels a step, for up to 100,000 Gaussians; for more, as many times more. Default: 4096, as for the
    other systems."""

    def ready(self, progress: Reporter = SILENT) -> "LEGaussiansSettings":
        """The same, with the DINO that `features` stands for on this machine.

        Raises:
            ModelError: If a DINO is asked for that is not there and cannot be fetched.
        """
        return replace(self, features=choose_dino(self.features, progress))


@dataclass(frozen=True)
class LEGaussians(Settings):
    """Learns a codebook, and features of the Gaussians that say which code a pixel has."""

    settings: LEGaussiansSettings = LEGaussiansSettings()
    """Settings of its own."""
    targets: Literal["tiles", "masks"] = "tiles"
    """What a pixel should say: the embeddings of tiles around it, or of the masks that cover it."""
    cut: Literal["published", "protocol"] = added("published")
    """Where a mask ends: at a relevancy of 0.5, or by the protocol's rule for relevancies."""
    batch: int = ranged(PIXELS_A_STEP, BATCH)
    """Pixels a step."""
    pixels_per_photo: int = ranged(24_000, PIXELS)
    """Pixels drawn from every photo."""
    top_k: int = ranged(16, TOP_K)
    """Gaussians kept per sampled pixel."""

    def title(self) -> str:
        """What it is, for the table."""
        parts = ["dense" if self.targets == "tiles" else "on our masks"]
        if self.targets == "tiles" and self.settings.photos:
            parts.append(f"{self.settings.photos} photos")
        if self.settings.features == NONE:
            parts.append("no DINO")
        if self.cut == "protocol":
            parts.append("masks by the protocol")
        return f"LEGaussians ({', '.join(parts)})"

    def learn(self, inputs: Inputs, seed: int, path: Path, progress: Reporter) -> None:
        """Compute dense features, then the codebook, then the Gaussians' features; see `Learner.learn`.

        Dense features are kept in a folder `dense` beside the folders of the seeds, which share them.

        Raises:
            CompareError: If it has to look at photos and is given none.
        """
        dino = load_dino(self.settings.ready(progress).features, progress)
        photos = self._photos(inputs, dino, seed, path.parent.parent / "dense")
        codes = self._codebook(photos, seed, progress)
        samples = self._samples(photos, inputs.gaussians, codes, progress)
        features, decoder = train(samples, inputs.gaussians, self.settings.steps, self.batch, seed, progress)
        LEGaussiansField(inputs.gaussians, features, decoder, codes.embeddings, inputs.encoder.name).save(
            path
        )

    def load(self, path: Path, inputs: Inputs) -> "LEGaussiansField":
        """What `learn` wrote."""
        return LEGaussiansField.load(path, inputs.gaussians, self.cut == "published")

    def _photos(self, inputs: Inputs, dino: Dino | None, seed: int, folder: Path) -> TargetPhotos:
        """The photos that it learns from."""
        count = len(inputs.items)
        looks = self.targets == "tiles" or dino is not None
        if looks and len(inputs.views) != count:
            raise CompareError(
                f"LEGaussians looks at the photos, but was given {len(inputs.views)} of {count}; "
                "give all of them as the views of the inputs"
            )
        if self.targets == "masks":
            inputs.embeddings()  # refuses photos without a single mask
        wanted = self.settings.photos if self.targets == "tiles" and self.settings.photos else count
        numbers = np.unique(np.round(np.linspace(0, count - 1, min(wanted, count))).astype(int))
        return TargetPhotos(inputs, self.targets, dino, folder, numbers.tolist(), self.pixels_per_photo, seed)

    def _codebook(self, photos: TargetPhotos, seed: int, progress: Reporter) -> Hybrid:
        """The codebook, fitted to some pixels of every photo."""
        each = max(1, CODEBOOK_PIXELS // len(photos.numbers))
        parts = []
        with progress.stage("Dense features", len(photos.numbers), "photos") as bar:
            for photo in photos:
                found = photo.features(photo.pixels[:each])
                parts.append((found.embeddings.half(), found.keys.half()))
                bar.advance()
        pool = Hybrid(torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]))
        return train_codebook(pool, self.settings.codebook_steps, seed, progress)

    def _samples(
        self, photos: TargetPhotos, gaussians: Gaussians, codes: Hybrid, progress: Reporter
    ) -> "CodedPixels":
        """Sampled pixels of all photos, with their codes."""
        parts = []
        with progress.stage("Blending weights", len(photos.numbers), "photos") as bar:
            for photo in photos:
                parts.append(_coded(photo, gaussians, codes, self.top_k))
                bar.advance()
        samples = CodedPixels(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
        if not len(samples):
            raise WorkspaceError(
                "no photo shows any of the Gaussians; check that photos and Gaussians belong together"
            )
        return samples


def rows_of(settings: LEGaussiansSettings, distill: DistillSettings) -> tuple[Method, Method]:
    """Its rows of the comparison: from dense features, which no prompts change, and on the scene's masks.

    Args:
        settings: Settings of its own.
        distill: Settings of distillation that all methods share.
    """
    dense = LEGaussians(
        settings,
        batch=settings.batch or PIXELS_A_STEP,
        pixels_per_photo=distill.pixels_per_photo,
        top_k=distill.top_k,
    )
    on_masks = replace(dense, targets="masks")
    return (
        Method("legaussians", dense.title(), dense),
        Method("legaussians-masks", on_masks.title(), on_masks),
    )


def cut_by_protocol(row: Method) -> Method:
    """The same row with masks by the rule of the protocol; learnt again, with the same result."""
    assert isinstance(row.learner, LEGaussians)
    learner = replace(row.learner, cut="protocol")
    return replace(row, name=f"{row.name}-protocol", title=learner.title(), learner=learner)


@dataclass(frozen=True, eq=False)
class CodedPixels:
    """Sampled pixels of all photos.

    Attributes:
        indices: Gaussians that make up each pixel; 0 with weight 0 for padding. int32 [P, K]
        weights: Their blending weights, which add up to less than 1 where the pixel is not opaque. [P, K]
        codes: Code of each pixel. int64 [P]
    """

    indices: Tensor
    weights: Tensor
    codes: Tensor

    def __len__(self) -> int:
        return len(self.codes)


def _coded(photo: TargetPhoto, g: Gaussians, codes: Hybrid, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gaussians, weights and codes of the sampled pixels of one photo that something is drawn at."""
    pixels = torch.from_numpy(photo.pixels).to(g.means.device)
    blend = blend_weights(g, photo.camera, pixels, top_k=top_k)
    known = blend.alphas >= KNOWN_ALPHA
    weights = torch.where(blend.indices >= 0, blend.weights, 0)[known]
    said = photo.features(photo.pixels[known.cpu().numpy()])
    return blend.indices[known].clamp(min=0), weights, nearest_codes(said, codes)


def layers(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with a ReLU between each two; of pixels, they are convolutions of 1×1."""
    made: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        made += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*made[:-1])


def uncertain_cross_entropy(logits: Tensor, codes: Tensor, uncertainties: Tensor) -> Tensor:
    """mean[(1 − u) · CE] + mean[−log(1 − u)]: doubt is cheap only where the code cannot be learnt.

    Args:
        logits: Of P pixels over the codes. [P, K]
        codes: The code of each pixel. int64 [P]
        uncertainties: Rendered uncertainty u of each pixel, in [0, 1]. [P]
    """
    certain = (1 - uncertainties).clamp(min=LEAST_CERTAINTY)
    return (certain * cross_entropy(logits, codes, reduction="none")).mean() - certain.log().mean()


def smoothness_loss(smooth: Tensor, features: Tensor, uncertainties: Tensor) -> Tensor:
    """mean[‖M(x) − sg(s)‖² + ‖sg(M(x)) − s‖² · (0.1 (1 − u) + u)], sg stopping the gradient.

    A small net M of the position can only be smooth. It follows the features, and pulls those back that are
    uncertain.

    Args:
        smooth: M(x), what the net says of n Gaussians. [n, 8]
        features: Their features s. [n, 8]
        uncertainties: Their uncertainties u, in [0, 1]. [n]
    """
    follow = (smooth - features.detach()).square().sum(dim=-1)
    pull = (smooth.detach() - features).square().sum(dim=-1)
    return (follow + pull * (LEAST_SMOOTHING * (1 - uncertainties) + uncertainties)).mean()


def scaled_positions(means: Tensor) -> Tensor:
    """Centres of the Gaussians, with most of the scene in −1..1; far ones are put at the edge. [N, 3]"""
    centre = means.median(dim=0).values
    reach = 2 * (means - centre).abs().median(dim=0).values.max()
    return ((means - centre) / reach.clamp(min=1e-6) / 2).clamp(-1, 1)


def train(
    samples: CodedPixels, gaussians: Gaussians, steps: int, batch: int, seed: int, progress: Reporter
) -> tuple[Tensor, nn.Sequential]:
    """Learn the Gaussians' features and uncertainties and the decoder.

    Args:
        samples: Pixels and their codes.
        gaussians: The N Gaussians.
        steps: Optimisation steps.
        batch: Pixels a step, for up to 100,000 Gaussians.
        seed: Seed of start and batches.
        progress: Told about progress.

    Returns:
        Features, then the uncertainty of each Gaussian [N, 9], and the decoder.
    """
    device = gaussians.means.device
    rng = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder, smoother = layers(DECODER_WIDTHS).to(device), layers(SMOOTHER_WIDTHS).to(device)
    s = nn.Parameter((FIRST_SPREAD * torch.randn(len(gaussians), FEATURE_DIM, generator=rng)).to(device))
    doubt = nn.Parameter(torch.full((len(gaussians), 1), FIRST_DOUBT, device=device))
    nets = [*decoder.parameters(), *smoother.parameters()]
    groups = [{"params": [s, doubt], "lr": FEATURE_RATE}, {"params": nets, "lr": NET_RATE}]
    optimizer = torch.optim.Adam(groups)
    positions, size = scaled_positions(gaussians.means), batch_for(batch, len(gaussians))
    smoothed = batch_for(SMOOTHED, len(gaussians))
    with progress.stage("Training features and uncertainties", steps, "steps") as bar:
        for step in range(steps):
            rows = torch.randint(len(samples), (size,), generator=rng).to(device)
            loss = by_codes = code_loss(torch.cat([s, doubt.sigmoid()], dim=1), samples, rows, decoder)
            if step % SMOOTH_EVERY == 0:
                some = torch.randint(len(s), (min(smoothed, len(s)),), generator=rng).to(device)
                loss = loss + smoothness_loss(smoother(positions[some]), s[some], doubt[some, 0].sigmoid())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            bar.advance(note=loss_note(by_codes, step, DAMAGED_EMBEDDINGS, decimals=3))
    features = torch.cat([s, doubt.sigmoid()], dim=1).detach()
    check_finite(steps, {"a feature": features}, DAMAGED_EMBEDDINGS)
    return features, decoder.requires_grad_(False).eval()


def code_loss(features: Tensor, samples: CodedPixels, rows: Tensor, decoder: nn.Module) -> Tensor:
    """Render features and uncertainties at some pixels, decode, and compare with their codes.

    Args:
        features: s and u of every Gaussian. [N, 9]
        samples: Sampled pixels.
        rows: Which of them. int64 [B]
        decoder: From unit features to logits.
    """
    rendered = embedding_bag(
        samples.indices[rows], features, per_sample_weights=samples.weights[rows], mode="sum"
    )
    logits = decoder(normalize(rendered[:, :FEATURE_DIM], dim=-1))
    return uncertain_cross_entropy(logits, samples.codes[rows], rendered[:, FEATURE_DIM])


@dataclass(frozen=True, eq=False)
class LEGaussiansField:
    """What LEGaussians learnt.

    Attributes:
        gaussians: The scene.
        features: 8 numbers s and the uncertainty u of every Gaussian; on file its name is "features" as for
            every method. [N, 9]
        decoder: From unit features to logits over the codes.
        codes: Embeddings of the codes, L2-normalised. [K, D]
        encoder_name: Encoder of the embeddings.
        own_bar: Whether its masks end at a relevancy of 0.5, instead of where the protocol's end.
    """

    gaussians: Gaussians
    features: Tensor
    decoder: nn.Sequential
    codes: Tensor
    encoder_name: str
    own_bar: bool = True

    def prepare(self, texts: Sequence[str], encoder: Encoder) -> Queries:
        """Texts embedded with the encoder that made the codes; see `Queries.encode`."""
        return Queries.encode(texts, encoder, self)

    @torch.no_grad()
    def relevancy(self, camera: Camera, queries: Queries) -> ValueMaps:
        """Relevancy (GAGS Eq. 8) of the embedding that every pixel is decoded to; own masks from 0.5 on.

        Pixels that show next to nothing are asked, too, as in `gags.query.answers.pixel_relevancy`.
        """
        drawn = render(self.gaussians, camera, self.features[:, :FEATURE_DIM].contiguous())
        rows = self.pixel_relevancy(drawn.colors.flatten(0, 1), queries)
        values = rows.T.reshape(-1, camera.height, camera.width).contiguous()
        masks = values >= MASK_RELEVANCY if self.own_bar else None
        return ValueMaps(values, drawn.alphas >= KNOWN_ALPHA, masks=masks)

    def pixel_relevancy(self, rendered: Tensor, queries: Queries) -> Tensor:
        """Relevancy of rendered features s to every text: softmax(logits) · codes, normalised, then Eq. 8.

        Args:
            rendered: Features as they are rendered, of any length. [P, 8]
            queries: T texts.

        Returns:
            [P, T]
        """
        said = self.codes @ torch.cat([queries.vectors, queries.negatives]).to(self.codes).T
        overlap = self.codes @ self.codes.T  # gives the length of a mixture p of codes: √(p · overlap · p)
        parts = [rendered.new_zeros(0, len(queries.texts))]
        for chunk in rendered.split(DECODED_AT_ONCE):
            shares = self.decoder(normalize(chunk, dim=-1)).softmax(dim=-1)
            length = ((shares @ overlap) * shares).sum(dim=-1, keepdim=True).clamp(min=1e-12).sqrt()
            parts.append(queries.relevancy_from_cosines(shares @ said / length))
        return torch.cat(parts)

    def save(self, path: Path) -> None:
        """Write to a safetensors file, atomically; features are kept as float16."""
        tensors = {f"decoder.{name}": value for name, value in self.decoder.state_dict().items()}
        tensors |= {"features": self.features.half(), "codes": self.codes}
        save_tensors(path, tensors, {"encoder": self.encoder_name})

    @classmethod
    def load(cls, path: Path, gaussians: Gaussians, own_bar: bool = True) -> "LEGaussiansField":
        """Read what `save` wrote.

        Raises:
            WorkspaceError: If the file is missing or damaged.
        """
        stored = load_tensors(path, remedy=REMEDY)
        device, tensors = gaussians.means.device, stored.tensors
        decoder = layers(DECODER_WIDTHS)
        try:
            name = stored.metadata["encoder"]
            features, codes = (tensors.pop(part).float().to(device) for part in ("features", "codes"))
            decoder.load_state_dict({key.removeprefix("decoder."): value for key, value in tensors.items()})
        except (KeyError, RuntimeError) as error:
            raise damaged(path, error, REMEDY) from error
        decoder = decoder.to(device).requires_grad_(False).eval()
        return cls(gaussians, features, decoder, codes, name, own_bar)
