"""SOG: files written here as the format's page says, compared with their values and with gsply's reader."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.heard import Heard
from tests.helpers.varied import pictures, varied

from gags.errors import SplatsError
from gags.gaussians import Gaussians
from gags.gaussians.files import load_gaussians

WIDTH = 8


def webp(pixels: np.ndarray) -> bytes:
    """RGBA of Gaussians, in rows of 8 pixels, lossless."""
    rows = -(-len(pixels) // WIDTH)
    picture = np.zeros((rows * WIDTH, 4), np.uint8)
    picture[: len(pixels)] = pixels
    return _lossless(picture.reshape(rows, WIDTH, 4))


def _lossless(picture: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture, "RGBA").save(data, "WEBP", lossless=True, exact=True)
    return data.getvalue()


def _rgba(rgb: np.ndarray, alpha: np.ndarray | int = 255) -> np.ndarray:
    return np.concatenate([rgb, np.broadcast_to(np.reshape(alpha, (-1, 1)), (len(rgb), 1))], axis=1)


def _positions(means: np.ndarray) -> tuple[dict, dict[str, bytes]]:
    logs = np.sign(means) * np.log1p(np.abs(means))
    low, high = logs.min(axis=0), logs.max(axis=0)
    steps = np.round((logs - low) / (high - low) * 65535).astype(int)
    meta = {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]}
    return meta, {"means_l.webp": webp(_rgba(steps % 256)), "means_u.webp": webp(_rgba(steps // 256))}


def _rotations(quats: np.ndarray) -> bytes:
    unit = quats / np.linalg.norm(quats, axis=1, keepdims=True)
    places = np.abs(unit).argmax(axis=1)
    pixels = np.zeros((len(unit), 4), int)
    for row, (q, place) in enumerate(zip(unit, places, strict=True)):
        small = np.delete(q * np.sign(q[place]), place)
        pixels[row] = [*np.round((small * np.sqrt(2) / 2 + 0.5) * 255), 252 + place]
    return webp(pixels)


def _nearest(values: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    return np.abs(values[..., None] - codebook).argmin(axis=-1)


def made_sog(g: Gaussians, version: int) -> dict[str, bytes]:
    """Files of a SOG; every Gaussian has a row of the palette of its own."""
    count, k = g.sh.shape[:2]
    log_scales, dc, rest = g.log_scales.numpy(), g.sh[:, 0].numpy(), g.sh[:, 1:].numpy()
    meta, files = {}, {"quats.webp": _rotations(g.quats.numpy())}
    meta["means"], pictures_of_means = _positions(g.means.numpy())
    files |= pictures_of_means
    palette = np.zeros((-(-count // 64), 64 * (k - 1), 4), np.uint8)
    palette[..., 3] = 255
    labels = np.arange(count)[::-1]  # not in order
    if version == 2:
        books = [np.linspace(v.min(), v.max(), 256) for v in (log_scales, dc, rest)]
        meta |= {"version": 2, "count": count}
        scales, colors, numbers = (
            _nearest(v, book) for v, book in zip((log_scales, dc, rest), books, strict=True)
        )
        alphas = np.round(g.opacities.numpy() * 255)
        ranges = [{"codebook": book.tolist()} for book in books]
        ranges[2] |= {"count": count, "bands": g.sh_degree}
    else:
        meta["means"]["shape"] = [count, 3]
        logits = g.logit_opacities.numpy()
        columns = [log_scales, np.concatenate([dc, logits[:, None]], axis=1), rest.reshape(count, -1)]
        limits = [(log_scales.min(0), log_scales.max(0)), (columns[1].min(0), columns[1].max(0))]
        limits += [(rest.min(), rest.max())]
        scales, colors, numbers = (
            np.round((v - low) / (high - low) * 255).astype(int)
            for v, (low, high) in zip(columns, limits, strict=True)
        )
        colors, alphas = colors[:, :3], colors[:, 3]
        numbers = numbers.reshape(rest.shape)
        ranges = [{"mins": np.array(low).tolist(), "maxs": np.array(high).tolist()} for low, high in limits]
    for row, values in zip(labels, numbers, strict=True):
        palette[row // 64, (row % 64) * (k - 1) : (row % 64 + 1) * (k - 1), :3] = values
    files |= {"scales.webp": webp(_rgba(scales)), "sh0.webp": webp(_rgba(colors, alphas))}
    files["shN_centroids.webp"] = _lossless(palette)
    files["shN_labels.webp"] = webp(_rgba(np.stack([labels % 256, labels // 256, labels * 0], axis=1)))
    meta["scales"] = ranges[0] | {"files": ["scales.webp"]}
    meta["sh0"] = ranges[1] | {"files": ["sh0.webp"]}
    meta["shN"] = ranges[2] | {"files": ["shN_centroids.webp", "shN_labels.webp"]}
    meta["quats"] = {"files": ["quats.webp"], "encoding": "quaternion_packed"}
    return files | {"meta.json": json.dumps(meta).encode()}


def zipped(path, files: dict[str, bytes]):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_values_and_pictures(tmp_path, version, degree):
    g = varied(70, degree=degree)
    again = load_gaussians(zipped(tmp_path / "a.sog", made_sog(g, version)))
    torch.testing.assert_close(again.means, g.means, atol=2e-5, rtol=0)
    torch.testing.assert_close(again.log_scales, g.log_scales, atol=0.01, rtol=0)
    torch.testing.assert_close(again.opacities, g.opacities, atol=0.01, rtol=0)
    torch.testing.assert_close(again.sh, g.sh, atol=0.01, rtol=0)
    units = g.quats / g.quats.norm(dim=1, keepdim=True)
    assert (units * again.quats).sum(dim=1).abs().min() > 1 - 1e-4
    assert (pictures(again) - pictures(g)).abs().mean() < 0.01


@pytest.mark.parametrize("version", [1, 2])
def test_another_reader_reads_the_same(tmp_path, version, monkeypatch):
    reader = pytest.importorskip("gsply.sog_reader")

    def decoded(data):
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
        return pixels.reshape(-1), pixels.shape[1], pixels.shape[0]

    monkeypatch.setattr(reader, "_load_webp_image", decoded)  # it would need imagecodecs
    path = zipped(tmp_path / "a.sog", made_sog(varied(70), version))
    ours, theirs = load_gaussians(path), reader.sogread(path)
    np.testing.assert_allclose(ours.means, theirs.means, atol=1e-5)
    np.testing.assert_allclose(ours.quats, theirs.quats, atol=1e-6)
    np.testing.assert_allclose(ours.log_scales, theirs.scales, atol=1e-5)
    np.testing.assert_allclose(ours.logit_opacities, theirs.opacities, atol=1e-4)
    np.testing.assert_allclose(ours.sh[:, 0], theirs.sh0, atol=1e-5)
    np.testing.assert_allclose(ours.sh[:, 1:], theirs.shN, atol=1e-5)


def test_a_folder_its_meta_json_and_an_archive_are_one(tmp_path):
    files = made_sog(varied(30), 2)
    folder = tmp_path / "exported"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    means = load_gaussians(zipped(tmp_path / "a.sog", {f"inner/{n}": c for n, c in files.items()})).means
    assert torch.equal(load_gaussians(folder).means, means)
    assert torch.equal(load_gaussians(folder / "meta.json").means, means)


def test_a_list_without_its_first_value(tmp_path):
    """Some files have null there; 255 even steps lie between the others, and it is one step before them."""
    files = made_sog(varied(30), 2)
    meta = json.loads(files["meta.json"])
    whole = load_gaussians(zipped(tmp_path / "a.sog", files)).log_scales
    book = meta["scales"]["codebook"]
    meta["scales"]["codebook"][0] = None
    mended = load_gaussians(zipped(tmp_path / "b.sog", files | {"meta.json": json.dumps(meta).encode()}))
    step = (book[255] - book[1]) / 255
    torch.testing.assert_close(mended.log_scales, whole, atol=1.1 * step, rtol=0)
    assert mended.log_scales.min() == pytest.approx(book[1] - step, abs=1e-6)


def test_a_rotation_without_its_mark_is_dropped(tmp_path):
    files, heard = made_sog(varied(30), 2), Heard()
    pixels = np.asarray(Image.open(io.BytesIO(files["quats.webp"]))).copy().reshape(-1, 4)
    pixels[3, 3] = 17
    files["quats.webp"] = webp(pixels)
    assert len(load_gaussians(zipped(tmp_path / "a.sog", files), heard)) == 29
    assert "1 of 30 Gaussians are not finite" in heard.warned[0]


def _meta(files: dict[str, bytes], **changes) -> dict[str, bytes]:
    return files | {"meta.json": json.dumps(json.loads(files["meta.json"]) | changes).encode()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: _meta(files, version=3), "SOG version 3, and versions 1 and 2"),
        (lambda files: _meta(files, count=10**9), "claims 1000000000 Gaussians, too many"),
        (lambda files: _meta(files, count=500), "pixels for 500 Gaussians"),
        (lambda files: _meta(files, count=0), "holds no Gaussians"),
        (lambda files: _meta(files, scales={"files": ["scales.webp"], "codebook": [0.0] * 9}), "damaged"),
        (lambda files: {n: c for n, c in files.items() if n != "sh0.webp"}, "sh0.webp is not there"),
        (lambda files: {n: c for n, c in files.items() if n != "meta.json"}, "meta.json is not there"),
        (lambda files: files | {"quats.webp": b"RIFF"}, "picture cannot be read"),
        (lambda files: files | {"meta.json": b"[" * 100_000}, "damaged"),
        (
            lambda files: files | {"sh0.webp": _lossless(np.zeros((512, 512, 4), np.uint8))},
            "512 x 512 pixels",
        ),
    ],
)
def test_damaged_files(tmp_path, change, message):
    path = zipped(tmp_path / "a.sog", change(made_sog(varied(30), 2)))
    with pytest.raises(SplatsError, match=message):
        load_gaussians(path)


def test_what_is_no_archive(tmp_path):
    (tmp_path / "a.sog").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(SplatsError, match=r"no \.sog archive"):
        load_gaussians(tmp_path / "a.sog")
    with pytest.raises(SplatsError, match="is not there"):
        load_gaussians(tmp_path / "b.sog")
