"""The RPKI preflight: whether the announcements of a plan are Valid by given VRPs.

The validation (:mod:`mesh.rpki.validity`) and its application to a plan
(:mod:`mesh.rpki.preflight`, :mod:`mesh.rpki.objects`) are pure. The readers (file, HTTP, RTR) are
imported when they are used.
"""

from mesh.rpki.errors import SourceError
from mesh.rpki.objects import Objects, objects
from mesh.rpki.plan_validity import PlanValidity, validate_plan
from mesh.rpki.preflight import Announcement, Finding, announcements, preflight
from mesh.rpki.sources import VrpList, read
from mesh.rpki.validity import Reason, State, Verdict, Vrp, validate

__all__ = [
    "Announcement",
    "Finding",
    "Objects",
    "PlanValidity",
    "Reason",
    "SourceError",
    "State",
    "Verdict",
    "Vrp",
    "VrpList",
    "announcements",
    "objects",
    "preflight",
    "read",
    "validate",
    "validate_plan",
]
