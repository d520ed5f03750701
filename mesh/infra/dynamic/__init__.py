"""Resources of our own, run by Pulumi's dynamic provider.

The state of a stack holds each provider as a pickled reference to its class: module and name,
nothing else. So it is the same bytes in every run and version, and **modules and classes here are
never renamed or moved**: an existing stack could not be read any more. Methods import what they
need when they are called, because the engine loads these modules at every preview.
"""
