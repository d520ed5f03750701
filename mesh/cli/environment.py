"""The environment in which the engine runs for this checkout.

The engine, its state, its home and the passphrase are the checkout's own, under ``.mesh``. The
user's Pulumi login, state and home are neither read nor written.
"""

from __future__ import annotations

import os
from pathlib import Path

import mesh

DEFAULT_CACHE = Path("/var/cache/anycast-mesh")
DEFAULT_LAB = "lab"

WITHOUT_SIDECARS = "?metadata=skip"
"""Of the engine's file backend: keep no ``stack.json.attrs`` beside a state. It is written in place
(gocloud.dev, blob/fileblob/attrs.go, 0.46): an engine that is killed just then leaves it empty, and
every later one reports "failed to load checkpoint: EOF" for a complete state."""

KEPT = ("PULUMI_DEBUG_", "PULUMI_POLICY_PACK_ATTACH")
"""Variables of the user's that still reach the engine: providers and tests are attached by them."""


class NoCheckout(Exception):
    """This mesh was installed as a package, and the command needs a checkout."""


def checkout() -> Path:
    """The checkout that this mesh runs from; NoCheckout where it was installed from a wheel."""
    root = Path(mesh.__file__).resolve().parent.parent
    if not (root / "templates").is_dir():
        raise NoCheckout(
            f"the lab is deployed from a checkout, and this mesh was installed in {root}: clone "
            "its repository and run `make up` there; a network that was deployed elsewhere is "
            "named by `--stack` (`mesh status --stack prod`)"
        )
    return root


def lab_name() -> str:
    """The lab that is meant: ``MESH_LAB``, or ``lab``."""
    return os.environ.get("MESH_LAB") or DEFAULT_LAB


def state_folder(root: Path) -> Path:
    """Where the operator's own things lie for the lab that is meant.

    A lab of another name has a folder of its own, so that two stand side by side.
    """
    name = lab_name()
    return root / ".mesh" if name == DEFAULT_LAB else root / ".mesh" / "labs" / name


def engine_folder(root: Path) -> Path:
    """The folder of the engine and its language host: what ``setup/all`` linked last."""
    return _linked(root, "engine")


def environment(root: Path, state: Path | None = None) -> dict[str, str]:
    """The full environment of an engine call for the checkout ``root``.

    ``state`` overrides where home, backend and passphrase lie (:func:`state_folder`).
    """
    folder = state_folder(root) if state is None else state
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PULUMI_") or name.startswith(KEPT)
    }
    path = [str(engine_folder(root)), str(root / ".venv" / "bin"), os.environ.get("PATH", "")]
    return own | {
        "PATH": os.pathsep.join(path),
        "PULUMI_HOME": str(folder / "pulumi"),
        "PULUMI_BACKEND_URL": f"file://{folder / 'state'}{WITHOUT_SIDECARS}",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(folder / "passphrase"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "MESH_IMAGE": os.environ.get("MESH_IMAGE") or str(_linked(root, "image")),
        "MESH_LAB": lab_name(),
    }


def _linked(root: Path, name: str) -> Path:
    """What the checkout's own link names, or else the cache's latest."""
    link = root / ".mesh" / name
    if not link.exists():
        link = Path(os.environ.get("MESH_CACHE") or DEFAULT_CACHE) / name
    return link.resolve()
