"""BGP as bytes: what tests say to a BIRD, and all that it said, independent of its code.

``attributes``: a route and its path attributes. ``messages``: what travels. ``log``: what came in,
in order. ``speaker``: a session, active or passive.
"""
