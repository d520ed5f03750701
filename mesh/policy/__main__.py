"""The policy pack: the rules as the engine runs them. Starts a server, and blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyConfigSchema,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.secret import Secret

from mesh.policy.resource import Resource
from mesh.policy.rules import NO_PLAIN_SECRET, RULES, STACK_RULES, PolicyRule, StackRule


def opened(value: Any) -> Any:
    """A value without the SDK's wrappings, which raise for a value that is not known yet.

    A secret becomes None. Only a remediation sees which values are secret; a validation gets them
    like all others.
    """
    if isinstance(value, Secret):
        return None
    if type(value).__module__.startswith("pulumi_policy"):
        return opened(value["__target"])
    if isinstance(value, Mapping):
        return {key: opened(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [opened(inner) for inner in value]
    return value


def resource_of(args: Any) -> Resource:
    """The resource of a validation, of a remediation, or of a stack."""
    parent = args.opts.parent or getattr(getattr(args, "parent", None), "urn", None)
    return Resource(
        args.resource_type, args.name, opened(args.props), args.urn, args.opts.protect, parent
    )


def policy(rule: PolicyRule) -> Policy:
    """A rule about one resource."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        for problem in rule.check(resource_of(args), args.get_config()):
            report(problem, None)

    return ResourceValidationPolicy(
        name=rule.name,
        description=rule.description,
        validate=validate,
        enforcement_level=EnforcementLevel.MANDATORY,
        config_schema=PolicyConfigSchema(dict(rule.settings)) if rule.settings else None,
    )


def secrets_policy(rule: PolicyRule) -> Policy:
    """The rule about secrets. It checks in the remediation, since only that sees what is secret,
    and reports in the validation that follows; a violation is mandatory."""
    seen: dict[str, list[str]] = {}

    def remediate(args: ResourceValidationArgs) -> None:
        seen[args.urn] = list(rule.check(resource_of(args), args.get_config()))

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if args.urn not in seen:
            args.not_applicable("which inputs are secret is known at the level remediate only")
        for problem in seen.pop(args.urn):
            report(problem, None)

    return ResourceValidationPolicy(
        name=rule.name,
        description=rule.description,
        validate=validate,
        remediate=remediate,
        enforcement_level=EnforcementLevel.REMEDIATE,
    )


def stack_policy(rule: StackRule) -> Policy:
    """A rule about all resources together."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for urn, problem in rule.check(list(map(resource_of, args.resources)), args.get_config()):
            report(problem, urn)

    return StackValidationPolicy(
        name=rule.name,
        description=rule.description,
        validate=validate,
        enforcement_level=EnforcementLevel.MANDATORY,
        config_schema=PolicyConfigSchema(dict(rule.settings)) if rule.settings else None,
    )


def policies() -> list[Policy]:
    """Every rule, in the order of the tables."""
    single = [secrets_policy(r) if r.name == NO_PLAIN_SECRET else policy(r) for r in RULES]
    return [*single, *map(stack_policy, STACK_RULES)]


if __name__ == "__main__":
    PolicyPack(name="anycast-mesh", policies=policies())
