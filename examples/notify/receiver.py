#!/usr/bin/env python3
"""Receives webhooks of usagectl, verifies their signatures, and prints each notice once.

    WEBHOOK_SECRET=... python3 receiver.py [PORT]
    usagectl alerts channel add desk webhook --url http://localhost:8080/ --secret-env WEBHOOK_SECRET

Both signatures are verified: X-Usagectl-Signature, and webhook-signature of Standard Webhooks
(https://www.standardwebhooks.com). One is enough. Only the standard library is used.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# An older message may be a replay; usagectl signs the time of each attempt.
TOLERANCE_SECONDS = 300
LARGEST_BODY = 1 << 20


def digest(key: bytes, *parts: bytes) -> bytes:
    return hmac.new(key, b".".join(parts), hashlib.sha256).digest()


def standard_key(secret: str) -> bytes:
    """The key of a secret whsec_BASE64; another secret is the key itself."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret[len("whsec_"):], validate=True)
        except ValueError:
            pass
    return secret.encode()


def is_recent(timestamp: str, now: float) -> bool:
    return timestamp.isdecimal() and abs(now - int(timestamp)) <= TOLERANCE_SECONDS


def verify_own(headers, body: bytes, secret: str, now: float) -> bool:
    timestamp = headers.get("X-Usagectl-Timestamp", "")
    expected = "sha256=" + digest(secret.encode(), timestamp.encode(), body).hex()
    given = headers.get("X-Usagectl-Signature", "")
    return is_recent(timestamp, now) and hmac.compare_digest(expected.encode(), given.encode())


def verify_standard(headers, body: bytes, secret: str, now: float) -> bool:
    message, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    code = digest(standard_key(secret), message.encode(), timestamp.encode(), body)
    expected = b"v1," + base64.b64encode(code)
    # There are several while a secret is replaced.
    given = headers.get("webhook-signature", "").split()
    matches = [hmac.compare_digest(expected, one.encode()) for one in given]
    return is_recent(timestamp, now) and any(matches)


class Receiver(BaseHTTPRequestHandler):
    # The keys of received notices; a real receiver keeps them in its database.
    seen = set()

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if length > LARGEST_BODY:
            return self.answer(413)
        body = self.rfile.read(length)
        secret, now = os.environ["WEBHOOK_SECRET"], time.time()
        own = verify_own(self.headers, body, secret, now)
        if not own or not verify_standard(self.headers, body, secret, now):
            return self.answer(401)
        notices = json.loads(body)
        for notice in notices if isinstance(notices, list) else [notices]:
            if notice["key"] not in self.seen:
                self.seen.add(notice["key"])
                print(notice["severity"], notice["kind"], notice["summary"], flush=True)
        return self.answer(204)

    def answer(self, status: int):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Prints notices only."""


if __name__ == "__main__":
    if not os.environ.get("WEBHOOK_SECRET"):
        sys.exit("set WEBHOOK_SECRET")
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    server = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()
