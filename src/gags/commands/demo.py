"""`gags demo [--out DIR]`."""

from pathlib import Path

from rich.console import Console

from gags.commands.evaluate import summary_table
from gags.console import ConsoleReporter
from gags.demo import run_demo


def command(*, out: Path = Path("gags-demo")) -> None:
    """Run the bundled capture through everything and show what comes out.

    Args:
        out: Folder of the scene; made if it is not there.
    """
    result = run_demo(out, report=ConsoleReporter())
    Console().print(summary_table(result.evaluation))
    print(f"\nThe report: {result.page}")
    print(f'Ask something else: gags query {out} "{result.example}"')
