"""LitServe: ``python lit.py MODEL PORT CLASSES [MAX_BATCH]``; a batch above 1 waits 5 ms for its images.

``MODEL`` may be ``A+Bn``: a simulated device that takes ``A + B * n`` milliseconds for ``n`` images.
"""

import sys
import time
from typing import Any

import litserve as ls
import numpy as np
from fastapi import Request
from PIL import Image

MODEL, PORT, CLASSES = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")
MAX_BATCH = int(sys.argv[4]) if len(sys.argv) > 4 else 1


class Classify(ls.LitAPI):
    """Decode, run, name."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        if MODEL.endswith("n"):
            self.times = [float(part) / 1000 for part in MODEL[:-1].split("+")]
            self.session = None
        else:
            import onnxruntime as ort

            self.session = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])

    def decode_request(self, request: Request) -> Any:
        return np.asarray(Image.open(request["file"].file).convert("RGB"))

    def predict(self, x: Any) -> Any:
        images = np.stack(x) if MAX_BATCH > 1 else x[np.newaxis]
        if self.session is None:
            time.sleep(self.times[0] + self.times[1] * len(images))
            logits = np.zeros((len(images), len(CLASSES)), np.float32)
        else:
            (logits,) = self.session.run(["logits"], {"image": images})
        return logits if MAX_BATCH > 1 else logits[0]

    def encode_response(self, output: Any) -> Any:
        exponentials = np.exp(output - output.max())
        probabilities = dict(zip(CLASSES, (exponentials / exponentials.sum()).tolist(), strict=True))
        return {"class": max(probabilities, key=lambda name: probabilities[name]), "probabilities": probabilities}


if __name__ == "__main__":
    batching = {"max_batch_size": MAX_BATCH, "batch_timeout": 0.005} if MAX_BATCH > 1 else {}
    server = ls.LitServer(
        Classify(api_path="/classify", **batching), accelerator="cpu", healthcheck_path="/health/ready"
    )
    server.run(port=PORT, host="127.0.0.1", log_level="warning", generate_client_file=False)
