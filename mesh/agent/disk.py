"""Whether the disk can be written."""

from __future__ import annotations

import errno
import os

from mesh.agent import file_paths
from mesh.agent.host import Host

LEAST = 1 << 20
"""Bytes that have to be free: orders and manifests are smaller."""
_REFUSALS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO)


def refuses(error: OSError) -> bool:
    """Whether the disk refuses writes; any other error concerns a single file."""
    if error.errno is not None:
        return error.errno in _REFUSALS
    # shutil.Error lists the errors of many files as text.
    return any(f"[Errno {code}]" in str(error) for code in _REFUSALS)


def fault(error: Exception) -> str:
    """The name of the fault in a report: ``disk`` or ``files``."""
    return "disk" if isinstance(error, OSError) and refuses(error) else "files"


def problem(host: Host, folder: str = file_paths.STATE) -> str:
    """Why a folder, by default that of the agent's state, cannot be written; empty if it can."""
    try:
        found = os.statvfs(host.path(folder))
    except FileNotFoundError:
        return ""  # made with the first file
    except OSError as error:
        return f"{folder}: {error.strerror}"
    if found.f_flag & os.ST_RDONLY:
        return f"{folder} is on a disk that is read-only"
    # f_bfree: the reserve for root is available to the agent.
    if found.f_bfree * found.f_frsize < LEAST:
        return f"{folder} is on a disk that is full"
    if found.f_files and not found.f_ffree:
        return f"{folder} is on a disk that takes no more files"
    return ""
