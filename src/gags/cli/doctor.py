"""`gags doctor`."""

from gags.models.doctor import examine
from gags.render import rasterize


def command() -> int:
    """Tell what works here, and what to do about the rest; exit code 1 if `gags run` cannot work."""
    checks = examine(rasterize)
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{'ok  ' if check.fine else '--  '}{check.name:<{width}}  {check.finding}")
    broken = [check.name for check in checks if check.needed and not check.fine]
    print(f"\n`gags run` cannot work here: {', '.join(broken)}" if broken else "\n`gags run` works here.")
    return 1 if broken else 0
