"""A made peer with a child that does not want to end, in a session of its own.

``python tests/stubborn.py [PORT]`` says that it is there, or answers every request with 200. Itself it ends when it is
told to, and leaves its child behind.
"""

import http.server
import subprocess
import sys
from pathlib import Path

FILE = Path(__file__)
PROCESSES = 2
"""The peer and its child."""
STAYS = """
import signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
print("stays", flush=True)
time.sleep(600)
"""


class Answers(http.server.BaseHTTPRequestHandler):
    """200 to everything."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing is to be said."""


def main() -> None:
    with subprocess.Popen([sys.executable, "-c", STAYS], start_new_session=True, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        if sys.argv[1:]:
            http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answers).serve_forever()
        sys.stdout.write("there\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
