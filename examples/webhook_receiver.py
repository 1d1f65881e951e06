"""A receiver of VokeTag's webhooks out of the standard library: verifies, answers, and does each event once.

WEBHOOK_SECRET=whsec_... python examples/webhook_receiver.py 8000
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_SECONDS = 300
BODY_BYTES = 64 * 1024


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """True for what was signed under the secret within the last five minutes."""
    event_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (timestamp.isdecimal() and abs(now - int(timestamp)) <= TOLERANCE_SECONDS):
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    expected = f"v1,{base64.b64encode(mac).decode()}".encode()
    signatures = headers.get("webhook-signature", "").encode().split()
    return any(hmac.compare_digest(expected, signature) for signature in signatures)


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to what is ours, and 401 to the rest, which is then tried again."""

    secret = ""
    seen: set[str] = set()  # noqa: RUF012 - of every request; in production a table with a unique index

    def do_POST(self) -> None:
        """Takes an event."""
        length = int(self.headers.get("content-length", "0"))
        body = self.rfile.read(length) if length <= BODY_BYTES else b""
        if not verify(self.secret, self.headers, body, time.time()):
            self.answer(401)
            return
        event = json.loads(body)
        if event["id"] not in self.seen:  # the same event may come again
            self.seen.add(event["id"])
            print(event["type"], event["subject"], json.dumps(event["data"]), flush=True)
        self.answer(204)

    def answer(self, status: int) -> None:
        """Sends a status and no more."""
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the base class
        """Says nothing of each request."""


if __name__ == "__main__":
    Receiver.secret = os.environ["WEBHOOK_SECRET"]
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
