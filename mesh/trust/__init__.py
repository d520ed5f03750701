"""Keys, signatures, sealing and the documents that travel: the whole trust model in one place.

Nothing here opens a connection or a file. A registry relays these documents and needs no trust:
each is public, signed by the operator or by a node, or sealed to one node.
"""
