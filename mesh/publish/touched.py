"""What a generation changes at each node, compared with what the node has in force."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from mesh.bird.restarts import is_read, restarting, sessions
from mesh.plan import Node, Role
from mesh.plan.waves import Touch
from mesh.publish.generation import SignedGeneration
from mesh.publish.held import HeldGeneration, Outlines, Texts
from mesh.publish.order import PRESENT, Order
from mesh.publish.order_log import latest
from mesh.render import node_secrets
from mesh.spec import PASSWORD_PREFIX, RECEIVER_PREFIX
from mesh.trust.documents import NodeEntry, Part, PublicFile, Report


def touched(
    order: Order,
    made: SignedGeneration,
    reports: Iterable[Report],
    held: Mapping[int, HeldGeneration],
    new: Collection[str],
) -> dict[str, Touch]:
    """What a generation changes at each of its nodes. ``held`` has the generations that nodes have
    in force (:func:`mesh.publish.held.held_generations`); a node whose one is not among them is
    assumed to change wholly. ``new`` are the nodes that no publication has reached yet."""
    last = latest(reports)
    compared = _Compared(order, made, held, new)
    return {node: compared.touch(node, last.get(node)) for node in made.manifest.nodes}


class _Compared:
    """A generation beside those that nodes have in force."""

    def __init__(
        self,
        order: Order,
        made: SignedGeneration,
        held: Mapping[int, HeldGeneration],
        new: Collection[str],
    ) -> None:
        self._order, self._made, self._held, self._new_nodes = order, made, held, new
        self._texts = Texts()
        self._new = self._texts.outlines(made.generation)
        self._old: dict[int, Outlines] = {}

    def touch(self, node: str, report: Report | None) -> Touch:
        number = self._last_held(node) if report is None else report.applied
        if not number and report is None and node not in self._new_nodes:
            return self._unknown(node)  # Its registries have lost what it had, or hide it.
        if not number:
            return Touch(changed=True, joins=True)
        if number == self._made.manifest.generation:
            return Touch(changed=False)
        entry = self._entry(number, node)
        if entry is None:
            return self._unknown(node)
        try:
            touch = self._compare(node, number, entry)
        except (ValueError, IndexError):
            return self._unknown(node)  # A part of another version of this code.
        bundle = self._made.manifest.bundle
        bundles = {self._held[number].manifest.bundle, bundle if report is None else report.bundle}
        return replace(
            touch,
            changed=touch.changed or bundles != {bundle},
            sure=touch.sure and report is not None,
        )

    def _last_held(self, node: str) -> int:
        """The highest generation that has this node, with the identity that it has now: what a
        node without a report may have in force. 0 for none, as of a node that is new."""
        identity = self._made.manifest.nodes[node].identity
        return max(
            (
                number
                for number in self._held
                if number < self._made.manifest.generation
                and (entry := self._entry(number, node))
                and entry.identity == identity
            ),
            default=0,
        )

    def _entry(self, number: int, node: str) -> NodeEntry | None:
        generation = self._held.get(number)
        return None if generation is None else generation.manifest.nodes.get(node)

    def _unknown(self, node: str) -> Touch:
        """A node of which it is not known what it has in force."""
        files = {file.path: self._texts.content(file) for file in self._new.part(node).files}
        return Touch(changed=True, restarts=sessions(files), sure=False)

    def _compare(self, node: str, number: int, entry: NodeEntry) -> Touch:
        if number not in self._old:
            self._old[number] = self._texts.outlines(self._held[number].pieces)
        secrets, sure = self._secrets(node, number, entry)
        if self._old[number].text(node) == self._new.text(node) and not secrets:
            return Touch(changed=False)
        old, new = self._old[number].part(node), self._new.part(node)
        differing = self._differing(old, new)
        others = (old.units, old.sealed) != (new.units, new.sealed)
        restarts: frozenset[str] = frozenset()
        if secrets or any(map(is_read, differing)):
            restarts = restarting(
                self._read(old) | self._sealed(node, secrets, "before"),
                self._read(new) | self._sealed(node, secrets, "now"),
            )
        changed = bool(differing or others or secrets)
        return Touch(changed, restarts, sure=sure or not restarts)

    def _differing(self, old: Part, new: Part) -> set[str]:
        """The paths of files with another content, mode or group, and of those that come or go."""
        before, after = ({file.path: file for file in part.files} for part in (old, new))
        return {
            path
            for path in {*before, *after}
            if before.get(path) != after.get(path)
            and not self._is_same(before.get(path), after.get(path))
        }

    def _is_same(self, old: PublicFile | None, new: PublicFile | None) -> bool:
        """Whether a file in one text has the content of one in several: its part came whole."""
        if old is None or new is None or (old.mode, old.group) != (new.mode, new.group):
            return False
        cut = len(old.content.split()) == 1 != len(new.content.split())
        return cut and self._texts.content(old) == self._texts.content(new)

    def _read(self, part: Part) -> dict[str, str]:
        """The files that decide about sessions."""
        return {f.path: self._texts.content(f) for f in part.files if is_read(f.path)}

    # --- what is sealed ----------------------------------------------------------------------

    def _secrets(self, node: str, number: int, entry: NodeEntry) -> tuple[frozenset[str], bool]:
        """The keys of the node's secrets that change, and whether that is known: all of them change
        otherwise."""
        own, known = self._own_secrets(node), self._order.sealed_before
        now = self._made.manifest.nodes[node].sealed_in or PRESENT
        changed = None if known is None else known.differing(entry.sealed_in or number, now)
        return (own, not own) if changed is None else (own & changed, True)

    def _own_secrets(self, node: str) -> frozenset[str]:
        plan = self._order.plan
        planned = plan.node(node)
        receivers = plan.receiver_secrets if Role.MONITOR in planned.roles else ()
        keys = [PASSWORD_PREFIX + name for name in _passwords(planned)]
        return frozenset((*keys, *(RECEIVER_PREFIX + name for name in receivers)))

    def _sealed(self, node: str, changed: Iterable[str], value: str) -> dict[str, str]:
        """Stand-ins for a node's sealed files, which are not held in clear: ``value`` in place of
        the secrets that change."""
        plan, values = self._order.plan, dict.fromkeys(changed, value)
        passwords = {
            name: values.get(PASSWORD_PREFIX + name, name) for name in _passwords(plan.node(node))
        }
        files = node_secrets(plan, node, passwords, dict.fromkeys(plan.receiver_secrets, ""))
        return {file.path: file.content for file in files}


def _passwords(node: Node) -> list[str]:
    """The names of the passwords of a node's sessions."""
    named = [each.password for each in node.upstreams] + [each.password for each in node.vpc]
    return [name for name in named if name]
