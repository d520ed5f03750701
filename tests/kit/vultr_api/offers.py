"""What Vultr has to offer: the form is the API's, the prices are those of its price list."""

from __future__ import annotations

from tests.kit.vultr_api.objects import Record

DEBIAN = "Debian 13 x64 (trixie)"
DEBIAN_ID = 2625
OPENBSD = "OpenBSD 9.9 x64"
OPENBSD_ID = 9901
"""Of a release that is supported for as long as these tests are run."""
REGIONS = {
    "lax": ("Los Angeles", "US", "North America"),
    "ord": ("Chicago", "US", "North America"),
    "mia": ("Miami", "US", "North America"),
    "ewr": ("New Jersey", "US", "North America"),
    "fra": ("Frankfurt", "DE", "Europe"),
    "nrt": ("Tokyo", "JP", "Asia"),
    "ams": ("Amsterdam", "NL", "Europe"),
}
WITHOUT_DDOS = ("nrt",)
UNLISTED: Record = {"ram": 0, "disk": 0, "vcpu_count": 0, "cpu_count": 0, "bandwidth": 0}
"""A plan that is no longer sold."""


def regions() -> list[Record]:
    """The rows of ``GET /regions``."""
    options = ["kubernetes", "load_balancers", "block_storage_storage_opt"]
    return [
        {"id": each, "city": city, "country": country, "continent": continent,
         "options": options if each in WITHOUT_DDOS else ["ddos_protection", *options]}
        for each, (city, country, continent) in REGIONS.items()
    ]  # fmt: skip


def images() -> list[Record]:
    """The rows of ``GET /os``."""
    rows = [(477, "Debian 11 x64 (bullseye)", "debian"), (2136, "Debian 12 x64 (bookworm)",
            "debian"), (DEBIAN_ID, DEBIAN, "debian"), (2284, "Ubuntu 24.04 LTS x64", "ubuntu"),
            (159, "Custom", "iso"), (OPENBSD_ID, OPENBSD, "openbsd"),
            (2286, "OpenBSD 7.5 x64", "openbsd")]  # fmt: skip
    return [{"id": n, "name": name, "arch": "x64", "family": family} for n, name, family in rows]


def plans() -> list[Record]:
    """The rows of ``GET /plans``."""
    rows = [("vc2-1c-1gb", 1, 1024, 25, 1024, 5.0), ("vc2-2c-4gb", 2, 4096, 80, 3072, 20.0),
            ("vhp-1c-2gb-amd", 1, 2048, 50, 3072, 12.0)]  # fmt: skip
    return [
        {"id": name, "vcpu_count": cpus, "ram": ram, "disk": disk, "disk_count": 1,
         "bandwidth": bandwidth, "monthly_cost": cost, "hourly_cost": round(cost / 730, 3),
         "type": name[:3], "locations": list(REGIONS)}
        for name, cpus, ram, disk, bandwidth, cost in rows
    ]  # fmt: skip


def metal_plans() -> list[Record]:
    """The rows of ``GET /plans-metal``."""
    return [
        {"id": "vbm-4c-32gb", "cpu_count": 4, "cpu_model": "E3-1270v6", "cpu_threads": 8,
         "cpu_cores": 4, "cpu_mhz": 3800, "ram": 32768, "disk": 240, "disk_count": 2,
         "bandwidth": 5120, "monthly_cost": 120.0, "hourly_cost": 0.164, "monthly_cost_preemptible":
         0, "type": "SSD", "locations": ["ewr", "lax"]}
    ]  # fmt: skip
