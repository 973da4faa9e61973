"""BentoML: ``HAL_BENCH_MODEL=... HAL_BENCH_CLASSES=a,b bentoml serve bento:Classify --port PORT``."""

import os
from typing import Any

import bentoml
import numpy as np
from PIL.Image import Image

CLASSES = os.environ["HAL_BENCH_CLASSES"].split(",")


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Classify:
    """Run, name; BentoML decodes."""

    def __init__(self) -> None:
        import onnxruntime as ort

        self.session = ort.InferenceSession(os.environ["HAL_BENCH_MODEL"], providers=["CPUExecutionProvider"])

    @bentoml.api
    def classify(self, file: Image) -> dict[str, Any]:
        """One image in a form."""
        pixels = np.asarray(file.convert("RGB"))[np.newaxis]
        (logits,) = self.session.run(["logits"], {"image": pixels})
        exponentials = np.exp(logits[0] - logits[0].max())
        probabilities = dict(zip(CLASSES, (exponentials / exponentials.sum()).tolist(), strict=True))
        return {"class": max(probabilities, key=lambda name: probabilities[name]), "probabilities": probabilities}
