"""Measure how long the viewer takes from a typed letter to coloured Gaussians.

    python benchmarks/view.py [--gaussians N] [--repeats N] [--page]

Gaussians and their field are random, the encoder is `lite`. "On the wire" is the time from a browser's
message that something was typed to the last byte of the new colours, for a client that speaks viser's
protocol but draws nothing. With --page, a headless Chromium types: "in the page" is the time from the key to
the answer's score in the page, which comes behind the colours in the same connection. Headless, there is no
GPU: Chromium draws all Gaussians on the CPU, one frame a second or less, and neither types nor reads
meanwhile. Median milliseconds, once warm; processor time of all threads beside them, for machines that do
other work.
"""

import argparse
import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
import viser
import viser._messages
import websockets
import zstandard

from gags.capture import Camera, Capture, View
from gags.distill.decoder import DecoderShape, PrincipalDecoder
from gags.distill.field import LanguageField, splats_hash
from gags.embed import load_encoder
from gags.gaussians import Gaussians
from gags.scene import Scene
from gags.viewer.scene import ViewerScene
from gags.viewer.server import Viewer
from gags.viewer.state import ViewerState
from gags.workspace import Workspace

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


def random_scene(folder: Path, count: int) -> Scene:
    """A scene of random Gaussians in a ball, with one camera, its folder empty."""
    generator = torch.Generator().manual_seed(0)
    gaussians = Gaussians(
        torch.randn(count, 3, generator=generator),
        torch.randn(count, 4, generator=generator),
        torch.full((count, 3), -4.5) + 0.3 * torch.randn(count, 3, generator=generator),
        2 * torch.randn(count, generator=generator),
        torch.randn(count, 4, 3, generator=generator) * 0.5,
    )
    torch.manual_seed(0)
    decoder = PrincipalDecoder(DecoderShape(feature=16, hidden=128, rank=128, dim=load_encoder("lite").dim))
    decoder.basis.copy_(torch.linalg.qr(torch.randn(decoder.basis.shape)).Q)
    features = torch.randn(count, 16, generator=generator)
    field = LanguageField(features, decoder.eval(), "lite", splats_hash(gaussians))
    viewmat = np.eye(4)
    viewmat[2, 3] = 4.0
    camera = Camera(viewmat, np.array([[400.0, 0, 320], [0, 400, 240], [0, 0, 1]]), 640, 480)
    capture = Capture(folder, [View("photo.jpg", folder / "photo.jpg", camera)])
    return Scene(Workspace.create(folder / "random"), capture, gaussians, field)


def measured(work: Callable[[str], object], repeats: int) -> str:
    """Median wall and processor milliseconds of `work`, a new text every time, as cells of a table."""
    wall, processor = [], []
    for repeat in range(repeats + 2):
        text = f"{WORDS[repeat % len(WORDS)]} {repeat}"
        start, spent = time.perf_counter(), time.process_time()
        work(text)
        wall.append(1000 * (time.perf_counter() - start))
        processor.append(1000 * (time.process_time() - spent))
    return f"{statistics.median(wall[2:]):.0f} | {statistics.median(processor[2:]):.0f}"


class WireClient:
    """A browser that only speaks: it connects to a viewer, types, and receives.

    Args:
        connection: Open websocket.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def send(self, message: viser._messages.Message) -> None:
        """Send one of viser's messages."""
        await self._connection.send(msgspec.msgpack.encode(message.as_serializable_dict()))

    async def receive(self) -> tuple[list[dict[str, Any]], int]:
        """The next messages, and their bytes."""
        raw = await self._connection.recv()
        size = int.from_bytes(raw[8:16], "little")
        content = zstandard.ZstdDecompressor().decompress(
            raw[16 : 16 + size], max_output_size=int.from_bytes(raw[:8], "little")
        )
        return list(msgspec.msgpack.decode(content)["messages"]), len(raw)

    async def text_box(self) -> str:
        """Wait for the panel; the identifier of its text box."""
        while True:
            for message in (await self.receive())[0]:
                if message["type"] == "GuiTextMessage" and message["props"]["label"] == "Look for":
                    return message["uuid"]

    async def quiet(self, seconds: float) -> None:
        """Receive until nothing has come for so long."""
        while True:
            try:
                await asyncio.wait_for(self.receive(), seconds)
            except TimeoutError:
                return

    async def ask(self, box: str, text: str, least: int) -> float:
        """Type a text; milliseconds until a message of at least `least` bytes, the colours, is here."""
        start = time.perf_counter()
        await self.send(viser._messages.GuiUpdateMessage(box, {"value": text}))
        while (await self.receive())[1] < least:
            pass
        return 1000 * (time.perf_counter() - start)


def measured_on_wire(viewer: Viewer, count: int, repeats: int) -> str:
    """Median wall milliseconds from a message of the text box to new colours of `count` Gaussians."""

    async def run() -> list[float]:
        protocol = websockets.Subprotocol(f"viser-v{viser.__version__}")
        address = viewer.url.replace("http", "ws")
        async with websockets.connect(address, subprotocols=[protocol], max_size=None) as connection:
            client = WireClient(connection)
            ahead = (
                (1.0, 0.0, 0.0, 0.0),
                (0.0, 0.0, -4.0),
                1.0,
                0.01,
                100.0,
                500,
                900,
                (0.0,) * 3,
                (0.0, -1.0, 0.0),
            )
            await client.send(viser._messages.ViewerCameraMessage(*ahead))
            box = await client.text_box()
            await client.quiet(3.0)
            times = []
            for repeat in range(repeats + 2):
                text = f"{WORDS[repeat % len(WORDS)]} {repeat}"
                times.append(await client.ask(box, text, count))
                await client.quiet(0.3)
            return times[2:]

    return f"{statistics.median(asyncio.run(run())):.0f} | –"


def measured_in_page(viewer: Viewer, repeats: int) -> str:
    """Median wall milliseconds from a key to the answer in a page."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as playwright:
        executable = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        page = browser.new_page(viewport={"width": 900, "height": 500})
        page.goto(viewer.url, timeout=300_000)
        box = page.get_by_label("Look for").or_(page.locator("form input")).first
        box.wait_for(timeout=300_000)
        box.fill("warm")
        page.get_by_text("(score").or_(page.get_by_text("Gaussians.")).first.wait_for(timeout=300_000)
        time.sleep(5)
        times = []
        for repeat in range(repeats):
            text = f"{WORDS[repeat % len(WORDS)]} {repeat}"
            times.append(page.evaluate(_TYPE_AND_WAIT, text))
        browser.close()
    return f"{statistics.median(times):.0f} | –"


_TYPE_AND_WAIT = """(text) => new Promise((resolve) => {
    const box = document.querySelector("form input");
    const answer = () => [...document.querySelectorAll("div")].find(
        (div) => !div.children.length && /^(Score|Nothing in)/.test(div.textContent));
    const before = answer()?.textContent;
    const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set;
    const start = performance.now();
    new MutationObserver((_, observer) => {
        if (answer() && answer().textContent !== before) {
            observer.disconnect();
            resolve(performance.now() - start);
        }
    }).observe(document.body, {subtree: true, childList: true, characterData: true});
    set.call(box, text);
    box.dispatchEvent(new Event("input", {bubbles: true}));
})"""


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--gaussians", type=int, default=300_000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--page", action="store_true", help="type in a headless Chromium too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scene = random_scene(Path(folder), arguments.gaussians)
        shown = ViewerScene(scene)
        shown.warm_up()
        state = ViewerState(arguments.gaussians)

        def colored(text: str) -> np.ndarray:
            state.draft = shown.ask(text, (255, 120, 0))
            return shown.colors(state, np.zeros(3))

        print("| step | wall ms | processor ms |\n|---|---|---|")
        print(f"| embedding the text | {measured(scene.queries, arguments.repeats)} |")
        print(f"| … and relevancy | {measured(lambda t: shown.ask(t, (0, 0, 0)), arguments.repeats)} |")
        print(f"| … and colours | {measured(colored, arguments.repeats)} |", flush=True)
        with Viewer(scene, port=8200) as viewer:
            wire = measured_on_wire(viewer, arguments.gaussians, arguments.repeats)
            print(f"| on the wire | {wire} |", flush=True)
            if arguments.page:
                print(f"| in the page | {measured_in_page(viewer, arguments.repeats)} |")


if __name__ == "__main__":
    main()
