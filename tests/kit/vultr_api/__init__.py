"""Vultr's v2 API as users report it, over HTTP and TLS, in memory.

    with answering(Vultr()) as served:
        client = connect(KEY, served.url)          # SSL_CERT_FILE = served.authority

:class:`Vultr` is one account and all that is in it; it outlives every run of the engine, and tests
change it between two runs as somebody does in Vultr's console. :class:`Knobs` say how it behaves,
:class:`Fault` what goes wrong, and ``calls`` holds every request that it was asked.

What it answers is taken from the API's documentation (docs.vultr.com/api) and from the issues of
github.com/vultr/terraform-provider-vultr; nobody here has spoken with the real one.
"""

from tests.kit.vultr_api.account import BGP_PASSWORD, KEY, Knobs, Vultr
from tests.kit.vultr_api.faults import Fault, html, limited, refused
from tests.kit.vultr_api.serving import Served, answering

__all__ = [
    "BGP_PASSWORD",
    "KEY",
    "Fault",
    "Knobs",
    "Served",
    "Vultr",
    "answering",
    "html",
    "limited",
    "refused",
]
