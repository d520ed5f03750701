"""A provider's metadata service, as a process of its own: ``python3 metadata.py ADDRESS NODES``.

Standard library only, so that any Python 3 runs it without a path. It answers by the source
address of the request, from the state files of the nodes in the directory NODES.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def instance(nodes: Path, source: str) -> dict[str, str] | None:
    """The state of the node that has this address; None where there is none."""
    for path in nodes.glob("*/state.json"):
        try:
            state: dict[str, str] = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if (state.get("inside") or state.get("ipv4")) == source:
            return state | {"node": path.parent.name}
    return None


def answer(nodes: Path, source: str, path: str) -> str | None:
    """Body of an answer in the forms of Vultr (/v1) and EC2 (/latest); None for 404."""
    found = instance(nodes, source)
    if found is None:
        return None
    pages = {
        "/v1.json": json.dumps({"instance-v2-id": found["instance_id"], "hostname": found["node"]}),
        "/v1/instance-v2-id": found["instance_id"],
        "/latest/meta-data/instance-id": found["instance_id"],
        "/latest/meta-data/local-hostname": found["node"],
    }
    return pages.get(path)


def main(address: str, directory: str) -> None:
    """Serve for ever."""
    nodes = Path(directory)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answer(nodes, self.client_address[0], self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write((body or "not found\n").encode())

    ThreadingHTTPServer((address, 80), Handler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
