"""Rules that every update has to keep, run by the engine: ``--policy-pack mesh/policy``.

They see what resources are to be, and neither what is done to them nor what stands now: for that
there is ``mesh preview --gate``.
"""
