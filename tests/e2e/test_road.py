"""The whole road in seconds: images, training, export, verification, HTTP, answer."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import onnxruntime as ort

from contract import bundle
from contract.decision import decide
from service.engine.onnx import OnnxEngine
from service.settings import Settings
from tests.training import small
from training.data.images import read_image
from training.export.bundle import write_bundle
from training.fit.run import Run


def test_from_labelled_images_to_an_answer_over_http(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", small.RECIPE, small.cells(tmp_path / "cells"))
    trainer = small.train(run)
    root = tmp_path / "models" / "small" / "1"
    manifest = write_bundle(
        run, trainer.encoder, trainer.heads["classifier"], root, "small", "1.0.0", ("int8", "float32", "float16")
    )
    cells = [image.path for image in run.images if image.split == "val"]
    session = ort.InferenceSession(root / "model.int8.onnx", providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {"image": np.stack([read_image(path) for path in cells])})[0]
    expected = [decision.predicted_class.name for decision in decide(logits, manifest)]

    environment = os.environ | {"HAL_BUNDLE": str(root), "PORT": "0"}
    command = [sys.executable, "-m", "service"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        try:
            url = next(
                match[1] for line in service.stdout if (match := re.search(r"Listening on (http://\S+?),", line))
            )
            with httpx.Client(base_url=url, timeout=30) as http:
                transport = httpx.HTTPTransport(retries=3)
                with httpx.Client(base_url=url, transport=transport) as probe:
                    while probe.get("/health/ready").status_code != 200:
                        assert service.poll() is None
                files = [("file", (path.name, path.read_bytes(), "image/png")) for path in cells]
                answer = http.post("/classify", files=files).raise_for_status().json()
        finally:
            service.terminate()
        assert service.wait(30) == 0

    assert [result["class_name"] for result in answer["results"]] == expected
    assert answer["model"]["sha256"] == bundle.load(root).file("int8").sha256
    half = OnnxEngine.open(bundle.load(root), Settings(precision="float16"))
    pixels = np.stack([read_image(path) for path in cells])
    assert [decision.predicted_class.name for decision in decide(half.run(pixels), manifest)] == expected
    assert all(result["hairy_cell"]["flag"] is None for result in answer["results"])
    assert "never seen a hairy cell" in answer["hairy_cell"]["advice"]
