"""Finds, installs or builds the engine, in that order.

The result is always one folder that holds the CLI and, beside it, the three
programs that it starts for Python: the language host, its executor, and the host of dynamic
providers. Nothing is written to ``~/.pulumi``.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from setup import cache, versions
from setup.failure import SetupFailure
from setup.progress import Step

HERE = Path(__file__).resolve().parent
RECIPE = ("go.mod", "go.sum", "language_host.py", "dynamic_host.py")
BESIDE = ("pulumi-language-python", "pulumi-language-python-exec", "pulumi-resource-pulumi-python")
MAIN = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
SDK = "github.com/pulumi/pulumi/sdk/v3"
VERSION_VARIABLE = f"{SDK}/go/common/version.Version"
INSTALLER = "https://get.pulumi.com/install.sh"

CONNECT = 5  # seconds to reach Pulumi's server before building instead
DOWNLOAD = 300  # seconds for its installer as a whole
BINARY = cache.GIB // 4  # the folder that stays
BUILD = 4 * cache.GIB  # Go's module and build caches, 3.3 GiB when filled

# How Go names a package that it lists or compiles, among its other output.
PACKAGE = re.compile(r"[\w.~/-]+")

# The lowest Go that fetches the toolchain which go.mod asks for by itself.
GO_MINIMUM = (1, 21)


def go_program() -> str | None:
    """Return the Go command, also where Go's own installation puts it."""
    return shutil.which("go") or shutil.which("/usr/local/go/bin/go")


def fits(version: str) -> bool:
    """Whether an engine of this version runs the program, by ``versions.toml``."""
    pinned = versions.load()
    try:
        found = versions.numbers(version)
    except ValueError:
        return False
    return versions.numbers(pinned.pulumi) <= found < versions.numbers(pinned.pulumi_below)


def version_of(pulumi: Path) -> str:
    """Return the output of ``pulumi version``, or nothing if it cannot be run."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "PULUMI_HOME": home, "PULUMI_SKIP_UPDATE_CHECK": "true"}
        try:
            output = subprocess.run(
                [str(pulumi), "version"],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return ""
    return output.stdout.strip()


def complete(folder: Path) -> bool:
    """Whether ``folder`` holds the CLI and all that it starts for Python."""
    return all(os.access(folder / name, os.X_OK) for name in ("pulumi", *BESIDE))


def on_path(path: str) -> Path | None:
    """Return the folder of a fitting, complete engine among the folders of ``path``.

    The cache's own folders do not count: a new recipe must be able to replace an old one.
    """
    for entry in path.split(os.pathsep):
        found = Path(entry, "pulumi")
        if not entry or not os.access(found, os.X_OK) or not found.is_file():
            continue
        folder = found.resolve().parent
        ours = folder.is_relative_to(cache.root().resolve())
        if not ours and complete(folder) and fits(version_of(folder / "pulumi")):
            return folder
    return None


def key() -> str:
    """Return the hash of what the engine is made from."""
    files = [HERE / name for name in RECIPE]
    return cache.recipe_key(files, versions.load().pulumi, platform.machine())


def engine(step: Step) -> Path:
    """Return the folder of the engine: from PATH, from the cache, or made now."""
    recipe = cache.Recipe("engine", key(), ((cache.root(), BINARY),), _Maker(step))
    found = on_path(os.environ.get("PATH", ""))
    if found is not None:
        return found
    return cache.fetch(recipe, step)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Fills a new folder of the cache with an engine."""

    step: Step

    def __call__(self, part: Path, lock: int) -> None:
        if not self._install(part, lock):
            self._build(part, lock)
        _put(HERE / "dynamic_host.py", part / "pulumi-resource-pulumi-python")
        if not complete(part) or not fits(version_of(part / "pulumi")):
            raise SetupFailure(
                f"engine: what was made in {part} does not run as Pulumi "
                f"{versions.load().pulumi}; the output is in {self.step.log}."
            )

    def _install(self, part: Path, lock: int) -> bool:
        """Run Pulumi's installer; False when it cannot be reached or fails."""
        version = versions.load().pulumi
        self.step.doing("asking for Pulumi's installer")
        with tempfile.TemporaryDirectory() as scratch:
            script = Path(scratch, "install.sh")
            limits = ["--connect-timeout", str(CONNECT), "--max-time", str(4 * CONNECT)]
            try:
                self.step.run(
                    ["curl", "-fsSL", *limits, "--output", str(script), INSTALLER],
                )
                self.step.doing(f"installing Pulumi {version}")
                self.step.run(
                    [
                        *("sh", str(script), "--version", version),
                        *("--no-edit-path", "--install-root", scratch),
                    ],
                    keep_open=[lock],
                    timeout=DOWNLOAD,
                )
            except SetupFailure:
                self.step.show("Pulumi's installer cannot be reached; building from Go modules")
                return False
            for program in Path(scratch, "bin").iterdir():
                shutil.move(program, part / program.name)
        return complete(part)

    def _build(self, part: Path, lock: int) -> None:
        """Build the CLI from Go modules and put the language host beside it."""
        go = go_program()
        if go is None:
            raise SetupFailure(
                "engine: Pulumi's installer cannot be reached, and there is no Go toolchain to "
                f"build the engine with: put Pulumi {versions.load().pulumi} or later on PATH, "
                "or install Go (https://go.dev/doc/install), and run the same command again."
            )
        require_go(go)
        cache.require_space(build_space(go))
        self.step.show("building Pulumi from Go modules (about 4 min the first time)")
        self.step.doing("downloading modules")
        total = self._packages(go)
        compiled = 0

        def seen(line: str) -> None:
            nonlocal compiled
            if PACKAGE.fullmatch(line):
                compiled += 1
                self.step.doing(f"compiled {compiled} of at most {total} packages")

        self.step.doing("compiling")
        version = f"v{versions.load().pulumi}"
        link = f"-s -w -X {VERSION_VARIABLE}={version}"
        self.step.run(
            [go, "build", "-v", "-trimpath", "-ldflags", link, "-o", str(part / "pulumi"), MAIN],
            seen=seen,
            cwd=HERE,
            keep_open=[lock],
        )
        sdk = Path(_go_output(go, "list", "-m", "-f", "{{.Dir}}", SDK).strip()) / "python"
        for source, name in (
            (HERE / "language_host.py", "pulumi-language-python"),
            (sdk / "cmd" / "pulumi-language-python-exec", "pulumi-language-python-exec"),
        ):
            _put(source, part / name)

    def _packages(self, go: str) -> int:
        """Return how many packages the engine has; its modules are downloaded for that."""
        packages = downloads = 0

        def seen(line: str) -> None:
            nonlocal packages, downloads
            if PACKAGE.fullmatch(line):
                packages += 1
            elif line.startswith("go: downloading"):
                downloads += 1
                self.step.doing(f"downloaded {downloads} modules")

        self.step.run([go, "list", "-deps", MAIN], seen=seen, cwd=HERE)
        return packages


def _put(source: Path, program: Path) -> None:
    """Lay a program beside the CLI."""
    shutil.copyfile(source, program)
    program.chmod(0o755)


def require_go(go: str) -> None:
    """Raise SetupFailure if the Go command is too old to build the engine."""
    output = subprocess.run([go, "version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"go(\d+)\.(\d+)", output)
    if match is None or (int(match[1]), int(match[2])) < GO_MINIMUM:
        raise SetupFailure(
            f"engine: {go} is `{output.strip()}`, and Go {'.'.join(map(str, GO_MINIMUM))} or "
            "later is needed: install it from https://go.dev/doc/install, and run the same "
            "command again."
        )


def build_space(go: str) -> list[tuple[Path, int]]:
    """Return what the build needs in Go's caches and in the temporary folder, in bytes."""
    asked = _go_output(go, "env", "GOMODCACHE", "GOCACHE", "GOTMPDIR")
    modules, build, scratch = asked.split("\n")[:3]
    sdk = Path(modules, "github.com", "pulumi", "pulumi", f"sdk/v3@v{versions.load().pulumi}")
    half = BUILD // 2
    needs = [(Path(scratch or tempfile.gettempdir()), cache.GIB)]
    # Modules that are there already are not downloaded again.
    if not sdk.is_dir():
        needs.append((Path(modules), half))
    needs.append((Path(build), half))
    return needs


def _go_output(go: str, *arguments: str) -> str:
    """Return what a Go command prints, asked in the folder of our go.mod."""
    try:
        return subprocess.run(
            [go, *arguments], cwd=HERE, capture_output=True, text=True, check=True
        ).stdout
    except subprocess.CalledProcessError as error:
        raise SetupFailure(
            f"engine: `go {' '.join(arguments)}` failed:\n    {error.stderr.strip()}"
        ) from error
