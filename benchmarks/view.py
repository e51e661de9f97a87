"""Measure the viewer: bytes on the wire, time to the first picture, time from a text to colours.

    python benchmarks/view.py [--gaussians N …] [--degree D] [--repeats R] [--page] [--scene WS]

Gaussians and their field are random, in 200 balls that are its things; the encoder is `lite`. With --scene, a
scene's own. "Packed" is what the server does once, before the first page; "fetched" is all of scene.json and
Gaussians by a client on this machine that draws nothing; "text → answer" is from a question on the websocket
to the last byte of its answer: strengths, instances and boxes. With --page, a headless Chromium opens the
page: "first picture" is from its address to the first picture with anything in it, "all there" to the last
Gaussian with its harmonics, "text → colours" from Enter to the first picture in the new colours. "memory" is
what the server's process holds more than the scene itself when all this is done. Headless,
there is no GPU: the processor draws. Medians, once warm; seconds, unless it says something else.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from websockets.sync.client import connect

from gags.capture import Camera, Capture, View
from gags.distill.decoder import DecoderShape, PrincipalDecoder
from gags.distill.field import LanguageField, splats_hash
from gags.embed import load_encoder
from gags.gaussians import Gaussians
from gags.scene import Scene
from gags.things.things import Things
from gags.viewer.scene import ViewerScene
from gags.viewer.server import Viewer
from gags.viewer.wire import packed, unpacked
from gags.workspace import Workspace

BALLS = 200
WORDS = (
    "red mug",
    "laptop",
    "banana",
    "desk lamp",
    "teddy bear",
    "keyboard",
    "something to eat",
    "wooden table",
)
ARGUMENTS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
PAGE_SECONDS = 280.0  # that a page may take for a step


def random_scene(folder: Path, count: int, degree: int) -> Scene:
    """A scene of random Gaussians in balls, each a thing, with one camera, its folder empty."""
    generator = torch.Generator().manual_seed(0)
    owner = torch.randint(BALLS, (count,), generator=generator)
    centres = 1.5 * torch.randn(BALLS, 3, generator=generator)
    gaussians = Gaussians(
        centres[owner] + 0.12 * torch.randn(count, 3, generator=generator),
        torch.randn(count, 4, generator=generator),
        -4.5 - np.log(count / 1e5) / 3 + 0.3 * torch.randn(count, 3, generator=generator),
        2 * torch.randn(count, generator=generator),
        torch.randn(count, (degree + 1) ** 2, 3, generator=generator) * 0.3,
    )
    torch.manual_seed(0)
    decoder = PrincipalDecoder(DecoderShape(feature=16, hidden=128, rank=128, dim=load_encoder("lite").dim))
    decoder.basis.copy_(torch.linalg.qr(torch.randn(decoder.basis.shape)).Q)
    features = torch.randn(BALLS, 16, generator=generator)[owner]
    features += 0.1 * torch.randn(count, 16, generator=generator)
    field = LanguageField(features, decoder.eval(), "lite", splats_hash(gaussians))
    viewmat = np.eye(4)
    viewmat[2, 3] = 6.0
    camera = Camera(viewmat, np.array([[400.0, 0, 320], [0, 400, 240], [0, 0, 1]]), 640, 480)
    scene = Scene(
        Workspace.create(folder / f"random-{count}"),
        Capture(folder, [View("photo.jpg", folder / "photo.jpg", camera)]),
        gaussians,
        field,
    )
    scene._things = Things.build(np.arange(count), owner.numpy(), [np.arange(3)] * BALLS)
    return scene


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that something takes, and what it returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def resident() -> float:
    """MB that this process holds (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024 / 1e6


def fetched(url: str) -> tuple[int, int]:
    """Bytes of the Gaussians, and of their harmonics, all fetched."""
    scene = json.loads(urllib.request.urlopen(f"{url}/scene.json").read())
    chunks = range(-(-scene["count"] // scene["chunk"]))
    kinds = ("splats", "harmonics") if scene["sh_degree"] else ("splats",)
    sizes = [sum(len(urllib.request.urlopen(f"{url}/{kind}/{n}").read()) for n in chunks) for kind in kinds]
    return sizes[0], sizes[1] if len(sizes) > 1 else 0


def asked(url: str, repeats: int) -> tuple[float, int]:
    """Median seconds from a text to its answer, and the bytes of the answer."""
    address = url.replace("http", "ws") + "/socket"
    times, size = [], 0
    with connect(address, origin=url, max_size=None, compression=None) as socket:
        socket.recv()
        for repeat in range(repeats + 2):
            start = time.perf_counter()
            socket.send(packed({"id": repeat, "do": "ask", "text": f"{WORDS[repeat % len(WORDS)]} {repeat}"}))
            while "progress" in unpacked(received := socket.recv())[0]:
                pass
            times.append(time.perf_counter() - start)
            size = len(received)
    return statistics.median(times[2:]), size


def in_page(url: str, repeats: int) -> tuple[float, float, float]:
    """Seconds to the first picture, until all is there, and from a text to colours, in a Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        executable = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        page = browser.new_page(viewport={"width": 900, "height": 500})
        page.set_default_timeout(1000 * PAGE_SECONDS)
        start = time.perf_counter()
        page.goto(url)
        _wait(page, "window.gagsApp && gagsApp.frameTook > 0 && gagsApp.splats?.arrived > 0")
        first = time.perf_counter() - start
        _wait(page, "gagsApp.splats.arrived === gagsApp.scene.count")
        _wait(page, "!gagsApp.scene.sh_degree || gagsApp.splats.harmonicsArrived === gagsApp.scene.count")
        ready = time.perf_counter() - start
        times = [page.evaluate(_ASK, f"{WORDS[n % len(WORDS)]} {n}") / 1000 for n in range(repeats)]
        browser.close()
    return first, ready, statistics.median(times)


def _wait(page: Any, condition: str) -> None:
    end = time.monotonic() + PAGE_SECONDS
    while not page.evaluate(f"!!({condition})"):
        if time.monotonic() > end:
            raise TimeoutError(condition)
        time.sleep(0.02)


_ASK = """async (text) => {
    const app = gagsApp, start = performance.now();
    byId("text").value = text;
    await app.texts.type();
    while (app.stale || app.drawing) await new Promise((resume) => setTimeout(resume, 5));
    return performance.now() - start;
}"""


def measured(scene: Scene, repeats: int, *, page: bool) -> str:
    """A row of the table."""
    count, before = len(scene.gaussians), resident()
    packing, _ = timed(lambda: ViewerScene(scene).packed)
    with Viewer(scene, port=18600) as viewer:
        _ = viewer._shown.packed
        fetching, (splats, harmonics) = timed(lambda: fetched(viewer.url))
        answering, answer = asked(viewer.url, repeats)
        seen = in_page(viewer.url, max(3, repeats // 3)) if page else None
    each = f"{splats / count:.0f} + {harmonics / count:.0f}"
    sizes = f"{each} | {(splats + harmonics) / 1e6:.0f} | {answer / 1e6:.2f}"
    held = resident() - before
    shown_in_page = " | ".join(f"{value:.1f}" for value in seen) if seen else "– | – | –"
    served = f"{packing:.1f} | {fetching:.1f} | {held:.0f} | {answering:.2f}"
    return f"| {count:,} | {sizes} | {served} | {shown_in_page} |"


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--gaussians", type=int, nargs="+", default=[100_000])
    parser.add_argument("--degree", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--page", action="store_true", help="open a headless Chromium too")
    parser.add_argument("--scene", type=Path, help="a finished scene instead of random ones")
    arguments = parser.parse_args()
    print(
        "| Gaussians | bytes each + harmonics | MB in all | MB an answer | packed | fetched | memory MB "
        "| text → answer | first picture | all there | text → colours |\n|" + "---|" * 11
    )
    if arguments.scene:
        loading, scene = timed(lambda: Scene.load(arguments.scene))
        print(measured(scene, arguments.repeats, page=arguments.page), flush=True)
        print(f"\nloaded in {loading:.1f} s")
        return
    with tempfile.TemporaryDirectory() as folder:
        for count in arguments.gaussians:
            scene = random_scene(Path(folder), count, arguments.degree)
            print(measured(scene, arguments.repeats, page=arguments.page), flush=True)


if __name__ == "__main__":
    main()
