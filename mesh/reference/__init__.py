"""The reference pages under ``docs/reference``, written from the code that they describe.

``python -m mesh.reference`` writes them anew. Nothing else imports this package.
"""
