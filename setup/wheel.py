"""What a wheel holds beside the code: the templates, which a checkout has at its top."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools.command.build_py import build_py


class WithTemplates(build_py):  # type: ignore[misc]  # setuptools has no types
    """Builds the package with ``templates/`` in it; an editable install reads the checkout's."""

    build_lib: str
    editable_mode: bool

    def run(self) -> None:
        """Copy the package and the templates. What an earlier build left goes first: a module that
        is no more would reach the nodes."""
        if self.editable_mode:
            super().run()
            return
        package = Path(self.build_lib, "mesh")
        shutil.rmtree(package, ignore_errors=True)
        super().run()
        shutil.copytree("templates", package / "templates")
