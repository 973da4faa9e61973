"""Runs a command without a network, and writes down which names it asks for: ``python names_asked_for.py COMMAND...``.

It needs a network and a mount namespace of its own (``unshare --net --mount``). The only name server there is this
program, which knows no name. Prints the names as JSON on the last line and ends with the command's exit code.
"""

import fcntl
import json
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading

SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
NXDOMAIN = 0x8183


def main(*command: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    with tempfile.NamedTemporaryFile("w") as resolver:
        resolver.write("nameserver 127.0.0.1\n")
        resolver.flush()
        subprocess.run(["mount", "--bind", resolver.name, "/etc/resolv.conf"], check=True)
        names: set[str] = set()
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 53))
        threading.Thread(target=answer, args=(server, names), daemon=True).start()
        with subprocess.Popen(command) as process:
            signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
            code = process.wait()
    print(json.dumps(sorted(names)), flush=True)  # noqa: T201
    return code


def answer(server: socket.socket, names: set[str]) -> None:
    while True:
        question, sender = server.recvfrom(512)
        names.add(name_in(question))
        server.sendto(question[:2] + struct.pack(">H", NXDOMAIN) + question[4:], sender)


def name_in(question: bytes) -> str:
    labels, place = [], 12
    while length := question[place]:
        labels.append(question[place + 1 : place + 1 + length].decode(errors="replace"))
        place += 1 + length
    return ".".join(labels)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
