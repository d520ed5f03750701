"""What is signed and what is sealed, as it travels. Without cryptography: who only reads documents
does not load it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from mesh.trust.encoding import sha256


@dataclass(frozen=True, slots=True)
class Box:
    """A sealed text: the ephemeral public key and the ciphertext, base64."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    ephemeral: str
    ciphertext: str


@dataclass(frozen=True, slots=True)
class Signed:
    """The signed text of a document, and the signature (base64). The text is verified before it is
    parsed."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    payload: str
    signature: str

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the signed text, by which reports name a manifest."""
        return sha256(self.payload.encode())
