"""The ``mesh`` command."""
