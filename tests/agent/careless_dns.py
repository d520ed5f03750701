"""``python3 careless_dns.py ADDRESS``: a DNS server that answers any question over UDP and TCP, and
leaves it to the kernel from which address it does. It runs on a node."""

from __future__ import annotations

import socket
import sys
import threading

SOA = b"\x00" + b"\x00" + (1).to_bytes(4, "big") + b"\x00\x00\x0e\x10" * 4


def answer(question: bytes) -> bytes:
    """An SOA of the name that is asked for."""
    end = question.index(b"\0", 12) + 5
    record = (
        b"\xc0\x0c" + question[end - 4 : end] + b"\0\0\0\x3c" + len(SOA).to_bytes(2, "big") + SOA
    )
    return question[:2] + b"\x84\0\0\1\0\1\0\0\0\0" + question[12:end] + record


def over_tcp(listening: socket.socket) -> None:
    """Answers one question of each connection."""
    while True:
        connection, _ = listening.accept()
        with connection:
            question = connection.recv(1000)[2:]
            if question:
                reply = answer(question)
                connection.sendall(len(reply).to_bytes(2, "big") + reply)


def main(address: str) -> None:
    """Runs until it is killed."""
    listening = socket.create_server((address, 53), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=over_tcp, args=(listening,), daemon=True).start()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        udp.bind((address, 53))
        while True:
            question, source = udp.recvfrom(1000)
            udp.sendto(answer(question), source)


if __name__ == "__main__":
    main(sys.argv[1])
