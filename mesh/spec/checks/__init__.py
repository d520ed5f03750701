"""Checks of a stack file's keys together: each check is a function that yields problems.

There is a file for each section. The checks run on all sections that could be parsed, so that one
error does not hide others. A problem names the key to edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mesh.spec.checks.admin import check_admin, check_documentation
from mesh.spec.checks.glass import check_glass
from mesh.spec.checks.health import check_health
from mesh.spec.checks.hosts import check_hosts
from mesh.spec.checks.kinds import check_kinds
from mesh.spec.checks.monitoring import check_monitoring
from mesh.spec.checks.nodes import check_exits, check_ipv6_alone, check_nodes, check_provider
from mesh.spec.checks.operating_systems import check_operating_systems
from mesh.spec.checks.prefixes import (
    check_announcers,
    check_asn,
    check_families,
    check_numbers,
    check_overlaps,
    check_prefixes,
    check_rules,
)
from mesh.spec.checks.protect import check_protect
from mesh.spec.checks.regions import check_regions
from mesh.spec.checks.roles import check_roles
from mesh.spec.checks.routing import check_imports
from mesh.spec.checks.services import check_services
from mesh.spec.checks.tunnels import check_tunnels
from mesh.spec.checks.upstreams import check_neighbors, check_upstreams
from mesh.spec.problems import Problem
from mesh.spec.section import Sections
from mesh.spec.steering import check_own, check_traffic

SpecCheck = Callable[[Sections], Iterator[Problem]]

CHECKS: tuple[SpecCheck, ...] = (
    check_asn,
    check_families,
    check_prefixes,
    check_tunnels,
    check_overlaps,
    check_admin,
    check_regions,
    check_nodes,
    check_ipv6_alone,
    check_exits,
    check_announcers,
    check_numbers,
    check_hosts,
    check_upstreams,
    check_neighbors,
    check_own,
    check_roles,
    check_services,
    check_kinds,
    check_health,
    check_imports,
    check_glass,
    check_traffic,
    check_rules,
    check_monitoring,
    check_protect,
    check_operating_systems,
)
"""Every check, in the order of the stack file."""

OF_VALUES_ALONE: tuple[SpecCheck, ...] = (check_asn, check_prefixes, check_overlaps)
"""Checks whose result does not change when keys are added to the configuration."""

__all__ = ["CHECKS", "OF_VALUES_ALONE", "SpecCheck", "check_documentation", "check_provider"]
