"""Rules that every update has to keep, run by the engine: ``--policy-pack mesh/policy``.

They see the resources' new inputs only, neither the operation nor the deployed resource: for those
there is ``mesh preview --gate``.
"""
