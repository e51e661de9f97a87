"""How well embeddings, or features decoded to them, answer a text (GAGS Eq. 8)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from typing import Protocol

import torch
from torch import Tensor

from gags.distill.field import LanguageField
from gags.embed.encoder import Encoder
from gags.errors import QueryError
from gags.query.examples import Example
from gags.query.language import check_texts
from gags.query.parts import part_and_whole

KEPT_MARGINS = 1 << 26  # bytes

Taught = Callable[[str], Example | None]
"""What a text was taught to mean in a scene; None if it is no taught name."""


def relevancy(embeddings: Tensor, query: Tensor, negatives: Tensor, *, temperature: float = 10.0) -> Tensor:
    """Relevancy of every embedding to a text query (GAGS Eq. 8, after LERF).

    Args:
        embeddings: Of what is asked, in the encoder's space, L2-normalised. [..., D]
        query: Text embedding, L2-normalised. [D]
        negatives: Embeddings of the canonical phrases, L2-normalised. [C, D]
        temperature: Logit scale; belongs to the encoder (10 for CLIP ViT-B/16).

    Returns:
        Probability that an embedding matches the query rather than any canonical phrase, in (0, 1). [...]

    Raises:
        ValueError: If D differs between the inputs, or C is 0.
    """
    if embeddings.shape[-1] != query.shape[-1] or query.shape[-1] != negatives.shape[-1]:
        raise ValueError(
            f"embeddings, query and negatives must have one length D, got {embeddings.shape[-1]}, "
            f"{query.shape[-1]} and {negatives.shape[-1]}"
        )
    scores = relevancy_from_cosines(
        (embeddings @ query)[..., None], embeddings @ negatives.T, temperature=temperature
    )
    return scores[..., 0]


def margins_from_cosines(
    queries: Tensor,
    negatives: Tensor,
    *,
    counted: Tensor | None = None,
) -> Tensor:
    """How much nearer each text is than any canonical phrase: q − max n, the logit of Eq. 8 over τ.

    Unlike relevancy it does not depend on the temperature: what is decided by ratios of margins is decided
    alike for any τ, and for encoders whose cosines lie close together or far apart.

    Args:
        queries: Cosines with T query texts. [..., T]
        negatives: Cosines with C canonical phrases. [..., C]
        counted: Which phrases count against which text, see `counted_phrases`; None for all. bool [T, C]

    Returns:
        Margins, differences of cosines, in [-2, 2]. [..., T]

    Raises:
        ValueError: If C is 0.
    """
    if negatives.shape[-1] == 0:
        raise ValueError("relevancy needs at least one canonical phrase")
    largest_negative = negatives.amax(dim=-1)
    against = largest_negative[..., None]
    if counted is not None and not counted.all():
        # Of many words most leave out the same phrases: each set is looked at once.
        sets, set_of_text = counted.unique(dim=0, return_inverse=True)
        largest = [_largest_counted(negatives, largest_negative, row) for row in sets]
        against = torch.stack(largest, dim=-1)[..., set_of_text.to(negatives.device)]
    return queries - against


def relevancy_from_cosines(
    queries: Tensor, negatives: Tensor, *, temperature: float, counted: Tensor | None = None
) -> Tensor:
    """Eq. 8 from cosines: exp(τ q) / (exp(τ q) + exp(τ n)) = sigmoid(τ (q − n)), least for the largest n.

    Args:
        queries: Cosines with T query texts. [..., T]
        negatives: Cosines with C canonical phrases. [..., C]
        temperature: Logit scale τ.
        counted: Which phrases count against which text, see `counted_phrases`; None for all. bool [T, C]

    Returns:
        Relevancy to each query. [..., T]

    Raises:
        ValueError: If C is 0.
    """
    return torch.sigmoid(temperature * margins_from_cosines(queries, negatives, counted=counted))


def _largest_counted(negatives: Tensor, largest_negative: Tensor, counted: Tensor) -> Tensor:
    """The largest cosine with those phrases that count.

    Args:
        negatives: Cosines with all phrases. [..., C]
        largest_negative: The largest of each. [...]
        counted: Which phrases count, one at least. bool [C]

    Returns:
        [...]
    """
    excluded = torch.nonzero(~counted)[:, 0].tolist()
    if not excluded:
        return largest_negative
    if 2 * len(excluded) > len(counted):
        return negatives[..., counted].amax(dim=-1)
    # Where no excluded phrase has the largest cosine, leaving them out changes nothing: few rows need more.
    reached = torch.zeros_like(largest_negative, dtype=torch.bool)
    for column in excluded:
        reached |= negatives[..., column] == largest_negative
    largest_negative = largest_negative.clone()
    largest_negative[reached] = negatives[reached][:, counted].amax(dim=-1)
    return largest_negative


def counted_phrases(queries: Tensor, negatives: Tensor, same_meaning: float) -> Tensor:
    """Which canonical phrases mean something else than a text, so that they can speak against it.

    Eq. 8 asks whether a text explains an embedding better than any canonical phrase does. A phrase that means
    the same as the text, as "laptop computer" does for "laptop", would explain it as well: no contrast left.

    Args:
        queries: Embeddings of texts, L2-normalised. [T, D]
        negatives: Embeddings of the canonical phrases, L2-normalised. [C, D]
        same_meaning: Cosine from which on two texts mean the same; belongs to the encoder.

    Returns:
        bool [T, C]; at least the least similar phrase counts against each text.
    """
    cosines = queries @ negatives.T
    return (cosines < same_meaning) | (cosines == cosines.amin(dim=-1, keepdim=True))


class HasEncoder(Protocol):
    """What language was learnt with an encoder: a language field, or what a baseline learnt."""

    @property
    def encoder_name(self) -> str:
        """Encoder in whose space texts are compared with it."""
        ...

    @property
    def features(self) -> Tensor:
        """What is kept for every Gaussian; queries are put on its device."""
        ...


@dataclass(eq=False)
class Queries:
    """Texts made ready for a field.

    Attributes:
        texts: The T texts.
        vectors: Their embeddings as texts, L2-normalised. float32 [T, D]
        negatives: Embeddings of the encoder's canonical phrases, L2-normalised. float32 [C, D]
        temperature: Logit scale of the encoder.
        counted: Which phrases count against which text; None for all. On the CPU, because Python branches on
            it. bool [T, C]
        vague_phrases: Whether the phrases name nothing in particular, as "object", so that all of them count
            against every text.
        least_match: See `gags.embed.Encoder`.
        wholes: What some of the texts ask for a part of (`part_and_whole`); None if none does.
        whole_of: Row of `wholes` that each text asks for a part of, -1 for none. [T]
        parts: What these parts are called by themselves; None if no text asks for one.
        part_of: Row of `parts` for each text, -1 for none. [T]
        examples: What is shown instead of named; or was shown before, for texts that are taught names.
        example_of: Row of `examples` for each text, -1 for those that only name something. [T]
    """

    texts: tuple[str, ...]
    vectors: Tensor
    negatives: Tensor
    temperature: float
    counted: Tensor | None = None
    vague_phrases: bool = False
    least_match: float | None = None
    wholes: "Queries | None" = None
    whole_of: tuple[int, ...] = ()
    parts: "Queries | None" = None
    part_of: tuple[int, ...] = ()
    examples: tuple[Example, ...] = ()
    example_of: tuple[int, ...] = ()
    _margins: "tuple[LanguageField, Tensor] | None" = dataclass_field(default=None, init=False, repr=False)
    _relevancies: tuple[Tensor, Tensor] | None = dataclass_field(default=None, init=False, repr=False)

    @classmethod
    def encode(
        cls,
        texts: Sequence[str],
        encoder: Encoder,
        field: HasEncoder,
        *,
        negatives: Tensor | None = None,
        taught: Taught | None = None,
        shown: Sequence[Example] = (),
    ) -> "Queries":
        """Embed texts with the encoder that made the field.

        Args:
            texts: The texts.
            encoder: The encoder.
            field: The field.
            negatives: Those of earlier queries with this encoder, not to embed the canonical phrases again.
            taught: Knows the taught names of a scene; None if there are none. A text that is one means what
                was shown, whatever its words are close to.
            shown: What is shown and not named: further queries after the texts, called by the examples'
                names.

        Raises:
            QueryError: If there is no text, a text is empty, or the field was made with another encoder.
        """
        if encoder.name != field.encoder_name:
            raise QueryError(
                f"the scene was described with encoder {field.encoder_name!r}, the query uses "
                f"{encoder.name!r}; query with the former or describe the scene again"
            )
        for text in texts:
            if not isinstance(text, str):
                raise QueryError(f"a text is wanted here, not an object of type {type(text).__name__}")
        if not (texts or shown) or not all(text.strip() for text in texts):
            raise QueryError("a query needs a text that is not empty")
        check_texts(texts)
        known = [None if taught is None else taught(text) for text in texts] + list(shown)
        texts = [*texts, *(example.name for example in shown)]
        device = field.features.device
        vectors = torch.from_numpy(encoder.encode_texts(list(texts))).float().to(device)
        if negatives is None:
            negatives = torch.from_numpy(encoder.encode_texts(list(encoder.negatives))).float().to(device)
        counted = counted_phrases(vectors, negatives, encoder.same_meaning).cpu()
        queries = cls(
            tuple(texts),
            vectors,
            negatives,
            float(encoder.temperature),
            counted,
            vague_phrases=encoder.same_meaning > 1,  # no cosine is
            least_match=getattr(encoder, "least_match", None),
        )
        queries = queries.shown_by(known)
        asked = [part_and_whole(text) if known[row] is None else None for row, text in enumerate(texts)]
        wholes = list(dict.fromkeys(words.whole for words in asked if words))
        parts = list(dict.fromkeys(words.part for words in asked if words))
        if wholes:
            queries.whole_of = tuple(wholes.index(words.whole) if words else -1 for words in asked)
            queries.part_of = tuple(parts.index(words.part) if words else -1 for words in asked)
            both = cls.encode([*wholes, *parts], encoder, field, negatives=negatives, taught=taught)
            queries.wholes = both.subset(range(len(wholes))).alone()
            queries.parts = both.subset(range(len(wholes), len(wholes) + len(parts))).alone()
        return queries

    def alone(self) -> "Queries":
        """The same texts, each as the name of a thing, whatever it may ask for a part of."""
        return replace(self, wholes=None, whole_of=(), parts=None, part_of=())

    def shown_by(self, examples: Sequence[Example | None]) -> "Queries":
        """The same texts, each meaning what an example of it shows, or what it says if that is None. [T]"""
        shown = tuple(example for example in examples if example is not None)
        if not shown:
            return self
        places = iter(range(len(shown)))
        rows = tuple(-1 if example is None else next(places) for example in examples)
        return replace(self, examples=shown, example_of=rows)

    def example(self, row: int) -> Example | None:
        """What a text means by an example; None if it only names something."""
        place = self.example_of[row] if self.example_of else -1
        return None if place < 0 else self.examples[place]

    def subset(self, rows: Sequence[int] | range) -> "Queries":
        """Some of the texts, by row."""
        rows = list(rows)
        if rows == list(range(len(self.texts))):
            return self
        return replace(
            self,
            texts=tuple(self.texts[row] for row in rows),
            vectors=self.vectors[rows],
            counted=None if self.counted is None else self.counted[rows],
            whole_of=tuple(self.whole_of[row] for row in rows) if self.whole_of else (),
            part_of=tuple(self.part_of[row] for row in rows) if self.part_of else (),
            example_of=tuple(self.example_of[row] for row in rows) if self.example_of else (),
        )

    def relevancy(self, features: Tensor, field: LanguageField) -> Tensor:
        """Relevancy of features of the field, blended or not, to every text, by its words. [P, d] → [P, T]"""
        return self.relevancy_from_cosines(
            field.decoder.similarities(features, torch.cat([self.vectors, self.negatives]))
        )

    def of_gaussians(self, field: LanguageField) -> Tensor:
        """Relevancy of every Gaussian of a field to every text (Eq. 8). [N, T]"""
        return self.relevancy_of_margins(self.margins_of_gaussians(field))

    def relevancy_of_margins(self, margins: Tensor) -> Tensor:
        """Eq. 8 from margins: sigmoid(τ m); kept while these margins are. [...] → [...]"""
        kept, margins_kept = self._relevancies, self._margins
        if kept is not None and kept[0] is margins:
            return kept[1]
        relevancies = torch.sigmoid(self.temperature * margins)
        if margins_kept is not None and margins_kept[1] is margins:
            self._relevancies = margins, relevancies
        return relevancies

    def margins_of_gaussians(self, field: LanguageField) -> Tensor:
        """Margin of every Gaussian to every text, see `margins_from_cosines`. [N, T]

        The field remembers the canonical phrases. Margins of few texts are kept for whoever asks next; they
        must not be written into.
        """
        kept = self._margins  # read once: threads may ask meanwhile
        if kept is not None and kept[0] is field:
            return kept[1]
        phrases = field.remembered_similarities(self.negatives)
        if phrases is None:
            cosines = field.similarities(torch.cat([self.vectors, self.negatives]))
            queries, negatives = cosines[:, : len(self.texts)], cosines[:, len(self.texts) :]
            margins = margins_from_cosines(queries, negatives, counted=self.counted)
        else:
            margins = field.similarities(self.vectors)
            against = phrases.largest[:, None]
            if self.counted is not None and not bool(self.counted.all()):
                against = torch.stack([phrases.largest_of(counted) for counted in self.counted], dim=-1)
            margins = margins - against
        for row in range(len(self.texts)):
            if (example := self.example(row)) is not None:
                margins[:, row] = example.margins(field, self.temperature)
        if margins.numel() * 4 <= KEPT_MARGINS:
            self._margins, self._relevancies = (field, margins), None
        return margins

    def relevancy_from_cosines(self, cosines: Tensor) -> Tensor:
        """Relevancy from cosines with the texts, then the phrases. [..., T + C] → [..., T]"""
        count = len(self.texts)
        return relevancy_from_cosines(
            cosines[..., :count],
            cosines[..., count:],
            temperature=self.temperature,
            counted=self.counted,
        )
