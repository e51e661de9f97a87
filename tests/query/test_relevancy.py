"""Eq. 8 against its literal formula."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.blobs import ToyEncoder, make_scene

from gags.distill.decoder import DecoderShape, PrincipalDecoder
from gags.distill.field import LanguageField
from gags.errors import QueryError
from gags.query.relevancy import Queries, counted_phrases, relevancy, relevancy_from_cosines


@given(
    query=st.floats(-1, 1),
    negatives=st.lists(st.floats(-1, 1), min_size=1, max_size=5),
    tau=st.floats(0.1, 50),
)
def test_relevancy_is_the_least_pairwise_softmax(query, negatives, tau):
    expected = min(math.exp(tau * query) / (math.exp(tau * query) + math.exp(tau * n)) for n in negatives)
    found = relevancy_from_cosines(
        torch.tensor([query], dtype=torch.float64),
        torch.tensor(negatives, dtype=torch.float64),
        temperature=tau,
    )
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_relevancy_of_features():
    features = torch.eye(3).reshape(1, 3, 3)
    query = torch.tensor([1.0, 0.0, 0.0])
    negatives = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.6, 0.8]])
    found = relevancy(features, query, negatives, temperature=2.0)
    expected = 1 / (1 + torch.exp(-2.0 * torch.tensor([[1.0, -1.0, -0.8]])))
    torch.testing.assert_close(found, expected)


def test_relevancy_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="length D"):
        relevancy(torch.zeros(2, 3), torch.zeros(4), torch.zeros(1, 4))
    with pytest.raises(ValueError, match="at least one"):
        relevancy(torch.zeros(2, 3), torch.zeros(3), torch.zeros(0, 3))


def test_phrases_that_mean_the_same_do_not_count():
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    phrases = torch.tensor([[0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]])
    counted = counted_phrases(texts, phrases, 0.7)
    assert counted.tolist() == [[False, True, True], [True, False, True]]
    feature = torch.tensor([0.6, 0.8])
    found = relevancy_from_cosines(
        texts @ feature, phrases @ feature, temperature=5.0, counted=counted
    )  # cosines with the texts .6 and .8, with the phrases .96, .8 and -.6
    expected = torch.sigmoid(5.0 * torch.tensor([0.6 - 0.8, 0.8 - 0.96]))
    torch.testing.assert_close(found, expected)
    assert counted_phrases(texts, phrases, -1.0).any(dim=1).all()  # one phrase is always left


@given(seed=st.integers(0, 10_000), excluded=st.integers(0, 5))
def test_leaving_phrases_out_is_the_plain_formula(seed, excluded):
    generator = torch.Generator().manual_seed(seed)
    queries = torch.rand(2, 7, 2, generator=generator, dtype=torch.float64)
    steps = torch.randint(0, 4, (2, 7, 6), generator=generator)  # so that phrases often tie
    negatives = steps.double() / 4
    counted = torch.ones(2, 6, dtype=torch.bool)
    counted[0, torch.randperm(6, generator=generator)[:excluded]] = False
    found = relevancy_from_cosines(queries, negatives, temperature=3.0, counted=counted)
    for column, row in enumerate(counted):
        own = (3.0 * queries[..., column, None]).exp()
        pairwise = own / (own + (3.0 * negatives[..., row]).exp())
        torch.testing.assert_close(found[..., column], pairwise.amin(dim=-1))
    torch.testing.assert_close(negatives, steps.double() / 4)  # stay as they were


@pytest.fixture
def field() -> LanguageField:
    decoder = PrincipalDecoder(DecoderShape(4, 8, 6, ToyEncoder.dim))
    decoder.basis.copy_(torch.linalg.qr(torch.randn(ToyEncoder.dim, 6)).Q)
    return LanguageField(torch.randn(10, 4), decoder, "toy", "")


def test_queries_equal_relevancy_of_decoded_embeddings(field):
    encoder = ToyEncoder()
    queries = Queries.encode(["red ball", "floor"], encoder, field)
    found = queries.relevancy(field.features, field)
    with torch.no_grad():
        embeddings = field.decoder.embeddings(field.features)
    vectors = torch.from_numpy(encoder.encode_texts(["red ball", "floor"]))
    negatives = torch.from_numpy(encoder.encode_texts(encoder.negatives))
    for column, vector in enumerate(vectors):
        expected = relevancy(embeddings, vector, negatives, temperature=encoder.temperature)
        torch.testing.assert_close(found[:, column], expected, atol=1e-5, rtol=1e-4)
    assert queries.subset([1]).texts == ("floor",)
    torch.testing.assert_close(queries.subset([1]).relevancy(field.features, field), found[:, 1:])


def test_gaussians_are_answered_by_the_literal_formula_with_phrases_left_out(field):
    encoder = ToyEncoder()
    queries = Queries.encode(["red ball", "floor"], encoder, field)
    queries.counted = torch.tensor([[True, False], [True, True]])
    with torch.no_grad():
        embeddings = field.decoder.embeddings(field.features)
    for _ in range(2):  # afresh, and remembered
        found = queries.of_gaussians(field)
        for column, vector in enumerate(queries.vectors):
            negatives = queries.negatives[queries.counted[column]]
            expected = relevancy(embeddings, vector, negatives, temperature=10.0)
            torch.testing.assert_close(found[:, column], expected, atol=1e-5, rtol=1e-4)


def test_queries_need_the_right_encoder_and_a_text(field):
    field.encoder_name = "clip"
    with pytest.raises(QueryError, match=r"'clip'.*'toy'"):
        Queries.encode(["floor"], ToyEncoder(), field)
    field.encoder_name = "toy"
    for texts in ([], ["  "], ["floor", ""]):
        with pytest.raises(QueryError, match="not empty"):
            Queries.encode(texts, ToyEncoder(), field)


def test_scene_fixture_has_every_object():
    scene = make_scene(views=2)
    assert set(np.unique(scene.ids[0])) == {-1, 0, 1, 2, 3, 4}


def test_margins_are_kept_for_whoever_asks_next_in_the_same_field(field, monkeypatch):
    queries = Queries.encode(["red ball", "floor"], ToyEncoder(), field)
    other = LanguageField(-field.features, field.decoder, "toy", "")
    first = queries.margins_of_gaussians(field)
    assert queries.margins_of_gaussians(field) is first
    assert queries.subset(range(2)) is queries
    torch.testing.assert_close(queries.subset([1]).margins_of_gaussians(field), first[:, 1:])
    assert not torch.allclose(queries.margins_of_gaussians(other), first)
    monkeypatch.setattr("gags.query.relevancy.KEPT_MARGINS", 4 * 10 * 2 - 1)
    many = Queries.encode(["red ball", "floor"], ToyEncoder(), field)
    assert many.margins_of_gaussians(field) is not many.margins_of_gaussians(field)


def test_relevancies_are_kept_as_margins_are(field, monkeypatch):
    queries = Queries.encode(["red ball", "floor"], ToyEncoder(), field)
    other = LanguageField(-field.features, field.decoder, "toy", "")
    first = queries.of_gaussians(field)
    assert queries.of_gaussians(field) is first
    assert torch.equal(first, torch.sigmoid(10.0 * queries.margins_of_gaussians(field)))
    assert torch.equal(queries.of_gaussians(other), torch.sigmoid(10.0 * queries.margins_of_gaussians(other)))
    assert torch.equal(queries.of_gaussians(field), first)
    monkeypatch.setattr("gags.query.relevancy.KEPT_MARGINS", 4 * 10 * 2 - 1)
    many = Queries.encode(["red ball", "floor"], ToyEncoder(), field)
    assert many.of_gaussians(field) is not many.of_gaussians(field)
