"""The language host under the real engine: programs, dynamic providers, policy packs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from mesh.cli.environment import checkout, engine_folder, environment
from setup.engine import dynamic_host
from tests.kit.wait import PATIENCE, patience

pytestmark = pytest.mark.engine

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

PROGRAM = """
    import pulumi
    from pulumi import dynamic

    class Provider(dynamic.ResourceProvider):
        def create(self, props):
            print("says the provider", flush=True)
            return dynamic.CreateResult("made", {**props, "made": True})
        def diff(self, _id, old, new):
            return dynamic.DiffResult(changes=old["size"] != new["size"])
        def update(self, _id, old, new):
            return dynamic.UpdateResult({**new, "made": True})

    class Thing(dynamic.Resource):
        made: pulumi.Output[bool]
        def __init__(self, name, size):
            super().__init__(Provider(), name, {"size": size, "made": None})

    config = pulumi.Config()
    pulumi.export("made", Thing("thing", config.get("size") or "small").made)
    pulumi.export("secret", config.get_secret("secret"))
"""

# A policy pack over the SDK's protocol classes: pulumi-policy pins an older protobuf.
PACK = """
    import sys
    from concurrent import futures
    import grpc
    from google.protobuf import empty_pb2
    from pulumi.runtime.proto import analyzer_pb2 as a, analyzer_pb2_grpc as s, plugin_pb2

    class Analyzer(s.AnalyzerServicer):
        def GetAnalyzerInfo(self, request, context):
            return a.AnalyzerInfo(name="sizes", version="1.0.0", policies=[
                a.PolicyInfo(name="no-huge", description="d", enforcementLevel=a.MANDATORY)])
        def GetPluginInfo(self, request, context):
            return plugin_pb2.PluginInfo(version="1.0.0")
        def Configure(self, request, context):
            return empty_pb2.Empty()
        def Analyze(self, request, context):
            found = []
            if dict(request.properties).get("size") == "huge":
                found.append(a.AnalyzeDiagnostic(
                    policyName="no-huge", policyPackName="sizes", policyPackVersion="1.0.0",
                    message="nothing may be huge", enforcementLevel=a.MANDATORY, urn=request.urn))
            return a.AnalyzeResponse(diagnostics=found)
        def AnalyzeStack(self, request, context):
            return a.AnalyzeResponse()

    server = grpc.server(futures.ThreadPoolExecutor())
    s.add_AnalyzerServicer_to_server(Analyzer(), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()
"""


class Project:
    """A program in a folder of its own, with a file backend of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "state").mkdir()
        (folder / "passphrase").write_text("a passphrase")
        runtime = {"name": "python", "options": {"virtualenv": sys.prefix}}
        (folder / "Pulumi.yaml").write_text(json.dumps({"name": "tried", "runtime": runtime}))
        (folder / "__main__.py").write_text(dedent(PROGRAM))
        pack = folder / "pack"
        pack.mkdir()
        (pack / "PulumiPolicy.yaml").write_text(json.dumps({"runtime": runtime}))
        (pack / "__main__.py").write_text(dedent(PACK))

    def pulumi(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the engine on the project."""
        return subprocess.run(
            ["pulumi", "--non-interactive", *words],
            cwd=self.folder,
            env=environment(checkout(), self.folder),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=patience(60),
        )

    def outputs(self) -> dict[str, object]:
        """The stack's outputs, secrets hidden."""
        found: dict[str, object] = json.loads(self.pulumi("stack", "output", "--json").stdout)
        return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("project"))
    assert made.pulumi("stack", "init", "dev").returncode == 0
    assert made.pulumi("config", "set", "--secret", "secret", stdin="hush").returncode == 0
    return made


def test_a_program_with_a_dynamic_resource_lives_its_whole_life(project: Project) -> None:
    preview = project.pulumi("preview")
    assert preview.returncode == 0, preview.stdout + preview.stderr
    assert "2 to create" in preview.stdout

    up = project.pulumi("up", "--yes", "--skip-preview")
    assert up.returncode == 0, up.stdout + up.stderr
    assert "says the provider" in up.stdout
    assert project.outputs() == {"made": True, "secret": "[secret]"}

    again = project.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
    assert again.returncode == 0, again.stdout + again.stderr

    project.pulumi("config", "set", "size", "large")
    changed = project.pulumi("up", "--yes", "--skip-preview")
    assert "1 updated" in changed.stdout

    gone = project.pulumi("destroy", "--yes", "--skip-preview", "--run-program")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert "2 deleted" in gone.stdout


def test_a_policy_pack_stops_what_it_forbids_and_lets_the_rest_pass(project: Project) -> None:
    project.pulumi("config", "set", "size", "huge")
    refused = project.pulumi("preview", "--policy-pack", "pack")
    assert refused.returncode != 0
    assert "nothing may be huge" in refused.stdout

    project.pulumi("config", "set", "size", "small")
    passed = project.pulumi("preview", "--policy-pack", "pack")
    assert passed.returncode == 0, passed.stdout + passed.stderr


def test_an_error_of_the_program_is_shown_with_the_users_own_lines(project: Project) -> None:
    main = project.folder / "__main__.py"
    kept = main.read_text()
    main.write_text("raise ValueError('the reason')\n")
    try:
        failed = project.pulumi("preview")
    finally:
        main.write_text(kept)
    assert failed.returncode != 0
    assert "ValueError: the reason" in failed.stdout
    assert "line 1" in failed.stdout


def test_a_virtual_environment_that_is_not_there_is_named(project: Project) -> None:
    file = project.folder / "Pulumi.yaml"
    kept = file.read_text()
    file.write_text(kept.replace(sys.prefix, "/no/such/venv"))
    try:
        failed = project.pulumi("preview")
    finally:
        file.write_text(kept)
    assert failed.returncode != 0
    assert "/no/such/venv" in failed.stdout + failed.stderr
    assert "make setup" in failed.stdout + failed.stderr


def start_host(environ: dict[str, str]) -> subprocess.Popen[str]:
    """Start the language host as the engine does."""
    return subprocess.Popen(
        [engine_folder(checkout()) / "pulumi-language-python", "127.0.0.1:1"],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


ours = pytest.mark.skipif(
    not (engine_folder(checkout()) / "pulumi-language-python").is_file()
    or b"protocol classes"
    not in (engine_folder(checkout()) / "pulumi-language-python").read_bytes()[:400],
    reason="this engine has Pulumi's own language host",
)


@ours
def test_the_host_ends_quietly_and_at_once_when_interrupted() -> None:
    host = start_host(environment(checkout()))
    assert host.stdout is not None
    assert host.stderr is not None
    assert int(host.stdout.readline()) > 0
    host.send_signal(signal.SIGINT)
    assert host.wait(PATIENCE) == 0
    assert host.stderr.read() == ""


@ours
def test_the_host_says_what_to_do_when_its_python_has_no_sdk() -> None:
    host = start_host({**os.environ, "PATH": "/usr/bin:/bin"})
    _, errors = host.communicate(timeout=PATIENCE)
    assert host.returncode != 0
    assert "has no Pulumi SDK" in errors


def test_the_host_of_dynamic_providers_leaves_out_what_no_provider_needs() -> None:
    """Every preview waits for its imports; of the SDK itself they are as they were."""
    script = (
        "import sys; from setup.engine import dynamic_host; dynamic_host.leave_out(); "
        "import pulumi.dynamic; print(*sys.modules)"
    )
    loaded = {
        traced: set(
            subprocess.run(
                [sys.executable, "-c", script], cwd=checkout(), capture_output=True, text=True,
                check=True, env=os.environ | ({dynamic_host.TRACED: TRACE} if traced else {}),
            ).stdout.split()
        )
        for traced in (False, True)
    }  # fmt: skip
    assert "pulumi.runtime.rpc" in loaded[False]
    assert not {"opentelemetry", "pulumi.automation._stack"} & loaded[False]
    assert "opentelemetry" in loaded[True], "somebody has asked for traces"


def test_the_host_of_dynamic_providers_runs_in_the_programs_environment(tmp_path: Path) -> None:
    """The engine starts it by its name, with whatever Python comes first on PATH."""
    host = tmp_path / "pulumi-resource-pulumi-python"
    host.write_text((checkout() / "setup" / "engine" / "dynamic_host.py").read_text())
    host.chmod(0o755)
    plain = Path(sys.base_prefix) / "bin"
    own = {"PATH": f"{plain}:/usr/bin:/bin", "PULUMI_RUNTIME_VIRTUALENV": sys.prefix}
    with subprocess.Popen([host, "127.0.0.1:1"], env=own, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        port = int(running.stdout.readline())
        command = Path(f"/proc/{running.pid}/cmdline").read_text().split("\0")
        running.kill()
    assert port > 0
    assert command[0] == f"{sys.prefix}/bin/python"
