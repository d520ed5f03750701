"""The RPKI preflight: whether the announcements of a plan are Valid by given VRPs.

Pure are the verdict (:mod:`mesh.roa.validity`) and what a plan makes of it
(:mod:`mesh.roa.preflight`, :mod:`mesh.roa.objects`); the readers (a file, the Web, RTR) stand at
the edge of it, and are imported when they are asked.
"""

from mesh.roa.judge import Judgement, judge
from mesh.roa.objects import Objects, objects
from mesh.roa.preflight import Announcement, Finding, announcements, preflight
from mesh.roa.reading import VrpList, read
from mesh.roa.unread import Unread
from mesh.roa.validity import Reason, State, Verdict, Vrp, validate

__all__ = [
    "Announcement",
    "Finding",
    "Judgement",
    "Objects",
    "Reason",
    "State",
    "Unread",
    "Verdict",
    "Vrp",
    "VrpList",
    "announcements",
    "judge",
    "objects",
    "preflight",
    "read",
    "validate",
]
