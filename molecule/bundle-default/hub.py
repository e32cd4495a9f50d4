"""A hub with one small model, for staging: prints its address, answers until it is stopped."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "5" * 40
FILES = {"config.json": b'{"model_type": "llama"}', "model.safetensors": b"weights" * 4096}


class Answers(BaseHTTPRequestHandler):
    """The two addresses that staging asks."""

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        """What the hub knows of the model, or one of its files."""
        data = json.dumps({"sha": COMMIT, "siblings": [listed(*each) for each in FILES.items()]}).encode()
        if "/resolve/" in self.path:
            data = FILES[self.path.rsplit("/", 1)[1]]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def listed(name: str, data: bytes) -> dict[str, object]:
    """One file as the hub lists it."""
    return {"rfilename": name, "size": len(data), "lfs": {"sha256": hashlib.sha256(data).hexdigest()}}


server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
