"""The lab: the world around the nodes, and the nodes as system containers, on one machine.

Everything stands in network namespaces ``mesh-<lab>-<box>``; the host holds no interface, address,
route or firewall rule of it, and has no link into it, so no packet of the lab can leave.
"""
