"""From plan to cloud: Pulumi components, a driver per provider, and the resources of our own.

This package imports nothing by itself: the process that runs our dynamic resources comes through
here, and pays for every import at every preview.
"""
