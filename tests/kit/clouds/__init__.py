"""Stand-ins for the clouds: gRPC resource providers that the real engine attaches to.

``schema`` reads what a resource takes from the installed SDK's own classes, ``cloud`` holds what
was made and how a cloud misbehaves, ``servicer`` speaks the engine's protocol. Each cloud is one
file (``vultr``): the table of its resource types with the real replace rules, and its functions.
``tests/kit/clouds/deployment.py`` starts them for a test.
"""
