"""signify(1) of OpenBSD reads what the operator signs for its nodes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.trust import keys, signify, signing
from mesh.trust.encoding import b64, sha256, unb64
from mesh.trust.signing import Purpose
from tests.kit import needs

PROGRAM = Path("/usr/bin/signify-openbsd")
PRIVATE, PUBLIC = keys.new_operator_key()
STRANGER, _ = keys.new_operator_key()
SCRIPT = "#!/bin/sh\necho done\n"


def _signify(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    if not PROGRAM.exists():
        raise needs.Absent("there is no signify: `make setup-tests`")
    (folder / "operator.pub").write_text(signify.public_key(PUBLIC))
    command = [str(PROGRAM), *arguments, "-q", "-p", "operator.pub"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_signed_script_is_given_out(tmp_path: Path) -> None:
    (tmp_path / "signed").write_text(signify.embedded(PRIVATE, SCRIPT))
    assert _signify(tmp_path, "-V", "-e", "-x", "signed", "-m", "out").returncode == 0
    assert (tmp_path / "out").read_text() == SCRIPT


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda: signify.embedded(PRIVATE, SCRIPT).replace("done", "gone"),
        lambda: signify.embedded(PRIVATE, SCRIPT) + "reboot\n",
        lambda: signify.embedded(STRANGER, SCRIPT),
        lambda: signify.unsigned(SCRIPT),
        lambda: SCRIPT,
    ],
    ids=["changed", "longer", "signed by another", "not signed", "without a signature"],
)
def test_nothing_is_given_out_of_another_text(tmp_path: Path, spoilt: Callable[[], str]) -> None:
    (tmp_path / "signed").write_text(spoilt())
    assert _signify(tmp_path, "-V", "-e", "-x", "signed", "-m", "out").returncode != 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("content", "right"), [(b"the bundle", True), (b"another", False)])
def test_a_signed_list_of_hashes_judges_a_file(tmp_path: Path, content: bytes, right: bool) -> None:
    hashes = f"SHA256 (bundle.pyz) = {sha256(b'the bundle')}\n"
    (tmp_path / "list.sig").write_text(signify.embedded(PRIVATE, hashes))
    (tmp_path / "bundle.pyz").write_bytes(content)
    done = _signify(tmp_path, "-C", "-x", "list.sig", "bundle.pyz")
    assert (done.returncode == 0) is right


@pytest.mark.parametrize("purpose", Purpose)
def test_a_document_of_another_purpose_is_not_signed(purpose: Purpose) -> None:
    with pytest.raises(ValueError, match="another purpose"):
        signify.embedded(PRIVATE, f"{purpose}\0{{}}")


def test_a_signature_is_none_of_a_document() -> None:
    framed = unb64(signify.embedded(PRIVATE, SCRIPT).splitlines()[1])
    raw = b64(framed[-signing.SIGNATURE_BYTES :])
    with pytest.raises(signing.BadSignature):
        signing.verify(PUBLIC, Purpose.MANIFEST, SCRIPT.encode(), raw)
