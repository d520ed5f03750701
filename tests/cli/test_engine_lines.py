"""What is shown of the engine's output."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

from mesh.cli import engine_lines
from mesh.cli.engine_lines import once
from tests.kit.wait import patience


def shown(text: str) -> str:
    return "\n".join(once(dedent(text).strip("\n").splitlines(keepends=True)))


def test_a_destroy_does_not_end_with_the_engines_advice() -> None:
    """As Pulumi 3.230 writes it into a pipe."""
    said = shown("""
        Destroying (lab):

         -  pulumi:pulumi:Stack anycast-mesh-lab deleting (0s)
         -  pulumi:pulumi:Stack anycast-mesh-lab deleted (0.02s)
            pulumi:pulumi:Stack anycast-mesh-lab
        Resources:
            - 1 deleted

        Duration: 1s

        The resources in the stack have been deleted, but the history and configuration associated \
with the stack are still maintained.
        If you want to remove the stack completely, run `pulumi stack rm lab`.
        """)
    assert said.splitlines()[-1] == "Duration: 1s"
    assert " -  pulumi:pulumi:Stack anycast-mesh-lab deleted (0.02s)" in said
    assert "    pulumi:pulumi:Stack anycast-mesh-lab" not in said.splitlines()


WORDY = """
Updating (lab):

 ~  pulumi:pulumi:Stack mesh-lab refreshing (0s)
 ~  pulumi:pulumi:Stack mesh-lab refreshing (0s)
 ~  pulumi:pulumi:Stack mesh-lab refreshing (0s) warning: mesh:reflectors: do X
 +  pulumi-python:dynamic/mesh:Publish mesh-generation creating (0s)
    pulumi:pulumi:Stack mesh-lab running lax-vultr-1 has joined
    pulumi:pulumi:Stack mesh-lab running generation 1 is signed
 -- pulumi-python:dynamic/mesh:Instance mesh-ewr deleting (2s) ewr: withdrawn
 +  pulumi-python:dynamic/mesh:Publish mesh-generation creating (3s) error: the reason
 +  pulumi-python:dynamic/mesh:Publish mesh-generation **creating failed** error: the reason
    pulumi:pulumi:Stack mesh-lab **failed** 1 warning; 2 messages
Diagnostics:
  pulumi:pulumi:Stack (mesh-lab):
    lax-vultr-1 has joined
    generation 1 is signed

    warning: mesh:reflectors: do X

  pulumi-python:dynamic/mesh:Instance (mesh-ewr):
    ewr: withdrawn

  pulumi-python:dynamic/mesh:Publish (mesh-generation):
    error: the reason
    in two lines

Resources:
    1 unchanged

Duration: 5s
"""


@pytest.mark.parametrize(
    "line",
    [
        " ~  pulumi:pulumi:Stack mesh-lab refreshing",
        "    lax-vultr-1 has joined",
        "    generation 1 is signed",
        "    warning: mesh:reflectors: do X",
        "    error: the reason",
        "    in two lines",
        "  pulumi:pulumi:Stack (mesh-lab):",
        "  pulumi-python:dynamic/mesh:Publish (mesh-generation):",
        "    pulumi:pulumi:Stack mesh-lab **failed** 1 warning; 2 messages",
    ],
)
def test_every_line_is_shown_once(line: str) -> None:
    assert shown(WORDY).splitlines().count(line) == 1


def test_what_a_resource_said_is_not_said_again_at_the_end() -> None:
    assert shown(WORDY).count("ewr: withdrawn") == 1
    assert "  pulumi-python:dynamic/mesh:Instance (mesh-ewr):" not in shown(WORDY)


def test_what_is_said_on_the_way_is_shown_before_what_comes_of_it() -> None:
    lines = shown(WORDY).splitlines()
    assert lines.index("    generation 1 is signed") < lines.index("Diagnostics:")
    assert lines.index("    error: the reason") > lines.index("Diagnostics:")


def test_diagnostics_of_which_all_was_shown_have_no_heading_left() -> None:
    said = shown("""
            pulumi:pulumi:Stack mesh-lab running generation 1 is signed
            pulumi:pulumi:Stack mesh-lab 1 message
        Diagnostics:
          pulumi:pulumi:Stack (mesh-lab):
            generation 1 is signed

        Resources:
            1 unchanged
        """)
    assert said == dedent("""\
            generation 1 is signed
            pulumi:pulumi:Stack mesh-lab 1 message

        Resources:
            1 unchanged""")


def test_a_refresh_is_one_line() -> None:
    said = shown("""
        Updating (lab):
         ~  pulumi:pulumi:Stack mesh-lab refreshing (0s)
         ~  mesh:index:Mesh mesh refreshing (0s)
         ~  mesh:index:Mesh mesh refresh (0.01s)
         ~  pulumi-python:dynamic/lab:Instance mesh-lax-instance refreshing (0s)
         ~  pulumi-python:dynamic/lab:Instance mesh-ewr-instance refreshing (0s)
         ~  pulumi-python:dynamic/lab:Instance mesh-ewr-instance refresh (0.45s)
         +  pulumi-python:dynamic/lab:Instance mesh-ewr-instance creating (0s)
         ~  pulumi:pulumi:Stack mesh-lab refreshing (1s)
        """)
    assert said.splitlines() == [
        "Updating (lab):",
        " ~  pulumi:pulumi:Stack mesh-lab refreshing",
        " +  pulumi-python:dynamic/lab:Instance mesh-ewr-instance creating (0s)",
    ]


def test_what_is_no_row_is_shown_as_it_is() -> None:
    words = "error: no stack named 'lab' found\nerror: no stack named 'lab' found"
    assert shown(words) == words


def test_an_engine_can_go_on_writing_when_nobody_reads_any_more() -> None:
    reader = subprocess.Popen(
        [sys.executable, "-m", engine_lines.__name__],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert reader.stdin is not None and reader.stdout is not None
    reader.stdout.close()
    reader.stdin.write("some words\n" * 50_000)
    reader.stdin.close()
    assert reader.wait(timeout=patience(60)) in (
        0,
        120,
    )  # 120: Python could not flush its own output
