"""Stands in for the SDK of a plugin ``toy``, which a real provider has as a package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pulumi import CustomResource, Input, Output, ResourceOptions


class Address(CustomResource):
    ipv4: Output[str]

    def __init__(self, name: str, *, place: str, opts: ResourceOptions) -> None:
        super().__init__("toy:index:Address", name, {"place": place, "ipv4": None}, opts)


class Rule(CustomResource):
    def __init__(
        self,
        name: str,
        *,
        protocol: str,
        ports: str | None,
        networks: Sequence[Input[str]],
        opts: ResourceOptions,
    ) -> None:
        props = {"protocol": protocol, "ports": ports, "networks": networks}
        super().__init__("toy:index:Rule", name, props, opts)


class Server(CustomResource):
    created: Output[str]
    main_ipv6: Output[str | None]

    def __init__(
        self,
        name: str,
        *,
        place: str,
        size: str,
        address: Input[str],
        ipv6: bool,
        labels: Mapping[str, str],
        user_data: Input[str],
        opts: ResourceOptions,
    ) -> None:
        props = {
            "place": place, "size": size, "address": address, "ipv6": ipv6, "labels": labels,
            "user_data": user_data, "created": None, "main_ipv6": None,
        }  # fmt: skip
        super().__init__("toy:index:Server", name, props, opts)
