"""Content of services: directories of the operator's repository as artefacts that nodes fetch."""

from mesh.content.artefact import Artefact, NotPacked, artefact, chunks
from mesh.content.described import Survey, described, folders, survey

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
