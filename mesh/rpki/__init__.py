"""The RPKI preflight: whether the announcements of a plan are Valid by given VRPs.

Pure are the verdict (:mod:`mesh.rpki.validity`) and what a plan makes of it
(:mod:`mesh.rpki.preflight`, :mod:`mesh.rpki.objects`); the readers (a file, the Web, RTR) stand at
the edge of it, and are imported when they are asked.
"""

from mesh.rpki.errors import Unread
from mesh.rpki.objects import Objects, objects
from mesh.rpki.plan_validity import Judgement, judge
from mesh.rpki.preflight import Announcement, Finding, announcements, preflight
from mesh.rpki.sources import VrpList, read
from mesh.rpki.validity import Reason, State, Verdict, Vrp, validate

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
