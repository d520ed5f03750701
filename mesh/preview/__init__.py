"""What a change touches, from the engine's own preview: servers, sessions and prefixes.

Pure: text in, values and text out. Who asks the engine is :mod:`mesh.cli.preview`. Nothing is
imported here: who reads a state alone does not wait for what judges a change.
"""
