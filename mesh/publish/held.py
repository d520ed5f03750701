"""Generations that registries hold, and the files of their nodes.

The parts of a thousand nodes have two gigabytes together, nearly all of it the same text. So a
node's part is compared by the numbers of its texts, and only texts that differ are put together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from mesh.publish.generation import Packing
from mesh.publish.registry_pool import RegistryPool
from mesh.render import File, NodeFiles
from mesh.trust.documents import Manifest, PackedGeneration, Part, PublicFile, Report
from mesh.trust.encoding import parse

MOST = 8
"""Generations that are asked for: nodes may report any number."""
_BOX = re.compile(r'"box":\{[^{}]*\}')
_NO_BOX = '"box":{"ciphertext":"","ephemeral":""}'


@dataclass(frozen=True)
class HeldGeneration:
    """A generation that :meth:`RegistryPool.generation` has verified, and its manifest in clear."""

    packed: PackedGeneration
    manifest: Manifest

    @cached_property
    def pieces(self) -> PackedGeneration:
        """The same with the contents of files as texts of their own, in parts that came whole
        too."""
        whole = [node for node, places in self.packed.parts.items() if len(places) == 1]
        packing, first = Packing(), len(self.packed.texts)
        for node in whole:
            part = parse(Part, self.packed.part(node))
            files = tuple(File(f.path, f.content, f.mode, f.group) for f in part.files)
            packing.add(node, NodeFiles(files, part.units), part.sealed)
        cut = {node: tuple(first + at for at in places) for node, places in packing.parts.items()}
        texts = (*self.packed.texts, *packing.texts)
        return replace(self.packed, texts=texts, parts={**self.packed.parts, **cut})


def held_generations(pool: RegistryPool, reports: Iterable[Report]) -> dict[int, HeldGeneration]:
    """The generations that nodes have in force by their reports, and the highest one, as far as
    registries hold them."""
    highest = pool.highest()
    numbers = {report.applied for report in reports} - {0}
    numbers |= set() if highest is None else {highest[1].generation}
    found: dict[int, HeldGeneration] = {}
    for number in sorted(numbers, reverse=True)[:MOST]:
        packed = pool.generation(number)
        if packed is not None:
            manifest = parse(Manifest, packed.manifest.payload)
            found[number] = HeldGeneration(packed, manifest)
    return found


class Texts:
    """The texts of several generations, each with one number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._texts: list[str] = []
        self._contents: dict[str, str] = {}

    def outlines(self, generation: PackedGeneration) -> Outlines:
        """The parts of a generation with numbers in place of contents."""
        return Outlines(generation.parts, tuple(map(self._shown, generation.texts)))

    def _shown(self, text: str) -> str:
        # In a content each quote has a backslash before it.
        if text.startswith(('{"', '"')):
            return _BOX.sub(_NO_BOX, text)
        number = self._numbers.setdefault(text, len(self._texts))
        if number == len(self._texts):
            self._texts.append(text)
        return f"{number} "

    def content(self, file: PublicFile) -> str:
        """The content of a file with numbers in its place; the same object for the same texts."""
        if file.content not in self._contents:
            texts = [self._texts[int(number)] for number in file.content.split()]
            self._contents[file.content] = json.loads(f'"{"".join(texts)}"')
        return self._contents[file.content]


@dataclass(frozen=True, slots=True)
class Outlines:
    """The parts of a generation, with numbers in place of contents and without boxes."""

    parts: Mapping[str, tuple[int, ...]]
    texts: tuple[str, ...]

    def text(self, node: str) -> str:
        """A node's part as JSON. Where it is equal, files, units and sealed files are, but for what
        is sealed; where it differs, the same content may be in other texts."""
        return "".join([self.texts[place] for place in self.parts[node]])

    def part(self, node: str) -> Part:
        """The same, parsed. Raises :class:`Malformed` for one of another version."""
        return parse(Part, self.text(node))
