"""Special-purpose ASNs, which may not be used on the Internet."""

from __future__ import annotations

# IANA "Special-Purpose AS Numbers" and RFC 6996, RFC 5398, RFC 7300, RFC 7607, RFC 6793.
SPECIAL_ASNS: tuple[tuple[int, int, str], ...] = (
    (0, 0, "AS0 is reserved (RFC 7607)"),
    (23456, 23456, "AS_TRANS stands for 32-bit ASNs (RFC 6793)"),
    (64496, 64511, "this ASN is for documentation (RFC 5398)"),
    (64512, 65534, "this ASN is private (RFC 6996)"),
    (65535, 65535, "this ASN is reserved (RFC 7300)"),
    (65536, 65551, "this ASN is for documentation (RFC 5398)"),
    (65552, 131071, "this ASN is reserved by IANA"),
    (4200000000, 4294967294, "this ASN is private (RFC 6996)"),
    (4294967295, 4294967295, "this ASN is reserved (RFC 7300)"),
)


def special(asn: int) -> str | None:
    """Why this ASN cannot be used on the Internet; None where it can."""
    for low, high, reason in SPECIAL_ASNS:
        if low <= asn <= high:
            return reason
    return None
