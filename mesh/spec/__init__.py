"""What the operator writes: the stack file as typed values, and errors that can be acted on."""

from mesh.spec.advice import advice
from mesh.spec.engine import from_engine
from mesh.spec.files import project_folder, read_stack_file
from mesh.spec.load import Incomplete, Loaded, for_preview, load, load_file
from mesh.spec.model import Spec
from mesh.spec.problems import Note, Problem, SpecError
from mesh.spec.secrets import PREFIX as PASSWORD_PREFIX
from mesh.spec.secrets import RECEIVER_PREFIX, SSH_PREFIX, needed_receivers, needed_ssh_keys
from mesh.spec.secrets import given as given_secret
from mesh.spec.secrets import needed as needed_passwords

__all__ = [
    "PASSWORD_PREFIX",
    "RECEIVER_PREFIX",
    "SSH_PREFIX",
    "Incomplete",
    "Loaded",
    "Note",
    "Problem",
    "Spec",
    "SpecError",
    "advice",
    "for_preview",
    "from_engine",
    "given_secret",
    "load",
    "load_file",
    "needed_passwords",
    "needed_receivers",
    "needed_ssh_keys",
    "project_folder",
    "read_stack_file",
]
