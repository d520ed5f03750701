"""A certificate authority of a lab, for the certificates of stand-ins; it ends with the lab.

Nodes of the lab trust it beside those that they trust anyway, and nobody else does.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mesh.lab.lab_files import LabFiles
from mesh.lab.rotation import write_private

LIFE = timedelta(days=365)
_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Anycast Mesh lab")])


def trusted(files: LabFiles) -> str:
    """The authority's certificate as PEM; the authority is made where there is none."""
    path = _authority(files)
    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        own = x509.BasicConstraints(ca=True, path_length=0)
        made = _unsigned(_NAME, key).add_extension(own, critical=True)
        write_private(path, _pem(made.sign(key, hashes.SHA256()), key))
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(_PEM).decode()


def certificate(files: LabFiles, hosts: Sequence[str]) -> str:
    """A certificate for these hosts and its key, as PEM; it is made once."""
    trusted(files)
    authority = _authority(files).read_bytes()
    digest = sha256(authority + "\n".join(hosts).encode()).hexdigest()
    path = files.runtime / f"certificate-{digest[:16]}.pem"
    if not path.exists():
        issuer = serialization.load_pem_private_key(authority, None)
        assert isinstance(issuer, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_general(host) for host in hosts])
        subject = x509.Name([])
        made = _unsigned(subject, key).add_extension(names, critical=True)
        write_private(path, _pem(made.sign(issuer, hashes.SHA256()), key))
    return path.read_text()


_PEM = serialization.Encoding.PEM


def _authority(files: LabFiles) -> Path:
    return files.runtime / "authority.pem"


def _unsigned(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + LIFE)
    )


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(made: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> str:
    private = key.private_bytes(
        _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (made.public_bytes(_PEM) + private).decode()
