"""Whether the disk takes what the agent has to keep."""

from __future__ import annotations

import errno
import os

from mesh.agent import file_paths
from mesh.agent.host import Host

LEAST = 1 << 20
"""Bytes that are free on a disk that is not full: orders and manifests are smaller."""
_REFUSALS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO)


def refuses(error: OSError) -> bool:
    """Whether it is the disk that takes nothing: any other error is of what lies on it."""
    if error.errno is not None:
        return error.errno in _REFUSALS
    # One of many files, in the words of shutil.Error.
    return any(f"[Errno {code}]" in str(error) for code in _REFUSALS)


def fault(error: Exception) -> str:
    """What an error is a fault of, as a report names it: ``disk``, or ``files``."""
    return "disk" if isinstance(error, OSError) and refuses(error) else "files"


def problem(host: Host, folder: str = file_paths.STATE) -> str:
    """Why a folder takes nothing, that of the agent's state unless said; empty where it does."""
    try:
        found = os.statvfs(host.path(folder))
    except FileNotFoundError:
        return ""  # made with the first file
    except OSError as error:
        return f"{folder}: {error.strerror}"
    if found.f_flag & os.ST_RDONLY:
        return f"{folder} is on a disk that is read-only"
    # What is kept back for root is there for us.
    if found.f_bfree * found.f_frsize < LEAST:
        return f"{folder} is on a disk that is full"
    if found.f_files and not found.f_ffree:
        return f"{folder} is on a disk that takes no more files"
    return ""
