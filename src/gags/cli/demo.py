"""`gags demo [--out DIR] [--segmenter NAME] [--encoder NAME]`."""

from pathlib import Path

from rich.console import Console

from gags.cli.console import ConsoleReporter
from gags.cli.evaluate import summary_table
from gags.demo import run_demo
from gags.models.choose import SMALL_ENCODER, SMALL_SEGMENTER


def command(
    *,
    out: Path = Path("gags-demo"),
    segmenter: str = SMALL_SEGMENTER,
    encoder: str = SMALL_ENCODER,
) -> None:
    """Run the bundled capture through everything and show what comes out.

    Args:
        out: Folder of the scene; made if it is not there.
        segmenter: Model that cuts photos into masks, see `gags run --help`.
        encoder: Model that embeds masks and texts, see `gags run --help`.
    """
    result = run_demo(out, segmenter=segmenter, encoder=encoder, progress=ConsoleReporter())
    Console().print(summary_table(result.evaluation))
    print(f"\nThe report: {result.page}")
    print(f'Ask something else: gags query {out} "{result.example}"')
