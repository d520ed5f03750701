"""The reference pages under ``docs/reference``, generated from the code that they describe.

``python -m mesh.reference`` writes them anew. Nothing else imports this package.
"""
