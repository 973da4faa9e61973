"""What one writes first: FastAPI, ``UploadFile``, a sync endpoint, Pillow, ONNX Runtime; no batching, no limits.

``python plain.py MODEL PORT CLASSES``: the classes are names with commas between them.
"""

import io
import sys
from typing import Annotated, Any

import numpy as np
import onnxruntime as ort
import uvicorn
from fastapi import Body, FastAPI, UploadFile
from PIL import Image

MODEL, PORT, CLASSES = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")

app = FastAPI()
session = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])


def answer(stream: Any) -> dict[str, Any]:
    """The probabilities of one encoded image."""
    pixels = np.asarray(Image.open(stream).convert("RGB"))[np.newaxis]
    (logits,) = session.run(["logits"], {"image": pixels})
    exponentials = np.exp(logits[0] - logits[0].max())
    probabilities = dict(zip(CLASSES, (exponentials / exponentials.sum()).tolist(), strict=True))
    return {"class": max(probabilities, key=lambda name: probabilities[name]), "probabilities": probabilities}


@app.get("/health/ready")
def ready() -> dict[str, str]:
    """The graph is loaded."""
    return {"status": "ready"}


@app.post("/classify")
def classify(file: UploadFile) -> dict[str, Any]:
    """One image in a form."""
    return answer(file.file)


@app.post("/classify-many")
def classify_many(file: list[UploadFile]) -> list[dict[str, Any]]:
    """Many images in a form."""
    return [answer(one.file) for one in file]


@app.post("/classify-raw")
def classify_raw(body: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
    """One image as it is."""
    return answer(io.BytesIO(body))


uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)
