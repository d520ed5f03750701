"""Keys, signatures, sealing and the documents that are exchanged: the whole trust model.

Nothing here opens a connection or a file. A registry relays these documents and needs no trust:
each is public, signed by the operator or by a node, or sealed to one node.
"""
