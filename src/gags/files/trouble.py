"""What the system says when it refuses a file, in words: one line of path, reason, and what to do."""

import errno
import os
import stat
from pathlib import Path

from gags.errors import FileError

_ELSEWHERE = "choose another folder"
_WORDS = {
    errno.ENOSPC: ("the disk is full", "make room there, then run the same command again"),
    errno.EROFS: (
        "it lies on a read-only file system",
        "choose another folder (--out), or copy the scene to one that can be written",
    ),
    errno.EACCES: ("no permission", f"change its permissions, or {_ELSEWHERE}"),
    errno.EPERM: ("no permission", f"change its permissions, or {_ELSEWHERE}"),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "use shorter names"),
    errno.ELOOP: ("it is a link that leads back to itself", "remove the link"),
    errno.EISDIR: ("it is a folder, not a file", "move the folder away"),
    errno.ENOTDIR: ("a file is where a folder should be", f"move the file away, or {_ELSEWHERE}"),
    errno.EEXIST: ("a file is where a folder should be", f"move the file away, or {_ELSEWHERE}"),
    errno.ENOTEMPTY: ("it is a folder, not a file", "move the folder away"),
    errno.ENOENT: ("it is not there", "check the path"),
    errno.EFBIG: ("files as large are not allowed here", f"raise the limit (ulimit -f), or {_ELSEWHERE}"),
    errno.EIO: ("the disk reports an error", "check the disk"),
    errno.EMFILE: ("too many files are open", "raise the limit (ulimit -n)"),
    errno.EINVAL: ("the system does not take such a name or file", "use another name"),
}
if hasattr(errno, "EDQUOT"):
    _WORDS[errno.EDQUOT] = ("your share of the disk is used up", f"make room, or {_ELSEWHERE}")


def reason(error: OSError) -> str:
    """Why the system refuses, in a few words."""
    known = _WORDS.get(error.errno or 0)
    return known[0] if known else error.strerror or str(error) or type(error).__name__


def remedy(error: OSError) -> str:
    """What to do about it; empty if that is not known."""
    return _WORDS.get(error.errno or 0, ("", ""))[1]


def told(error: OSError, path: Path | str | None = None, doing: str = "") -> str:
    """The line that tells of an error: which file, why, what to do.

    Args:
        error: What the system said.
        path: The file, if the error names none.
        doing: What could not be done, as in "cannot be written"; by default what fits every case.
    """
    if isinstance(error, FileError):
        return str(error)
    where = path if path is not None else error.filename
    if where is None:
        return "; ".join(filter(None, (reason(error), remedy(error))))
    cause = f"{os.fsdecode(where)} {doing or 'cannot be used'}: {reason(error)}"
    return "; ".join(filter(None, (cause, remedy(error))))


def refused(error: OSError, path: Path | str | None = None, doing: str = "") -> FileError:
    """The error of a file that cannot be used; of one that says so already, that one."""
    if isinstance(error, FileError):
        return error
    return FileError(told(error, path, doing), error.errno, reason(error))


def check_file(path: Path) -> None:
    """Make sure that a path is a plain file before it is opened: a pipe would wait without end.

    Raises:
        FileNotFoundError: If there is nothing.
        FileError: If it is a folder, a pipe, a link that leads back to itself, or cannot be looked at.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise
    except OSError as error:
        raise refused(error, path, "cannot be read") from error
    if stat.S_ISDIR(mode):
        raise refused(IsADirectoryError(errno.EISDIR, "", str(path)), path, "cannot be read")
    if not stat.S_ISREG(mode):
        raise FileError(f"{path} cannot be read: it is a pipe or a device, not a file; move it away")


def check_readable(path: Path) -> None:
    """Like `check_file`, and that the file may be read.

    Raises:
        FileNotFoundError: If there is nothing.
        FileError: If it cannot be read.
    """
    check_file(path)
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        raise refused(error, path, "cannot be read") from error
