"""Content of services: directories of the operator's repository as artefacts that nodes fetch."""

from mesh.content.described import Survey, described, folders, survey
from mesh.content.packing import Artefact, NotPacked, artefact, chunks

__all__ = [
    "Artefact",
    "NotPacked",
    "Survey",
    "artefact",
    "chunks",
    "described",
    "folders",
    "survey",
]
