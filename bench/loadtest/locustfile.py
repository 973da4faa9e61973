"""For those who use Locust: ``HAL_IMAGES=cells/ locust -f bench/loadtest/locustfile.py --host http://127.0.0.1:8000``.

Locust's users wait for their answers (a closed loop); 'hal load-test --rate' is an open loop. HAL_API_KEY holds the
service's key, HAL_BULK the images in a request; without HAL_IMAGES the sample cells of a checkout are sent.
"""

import os
from itertools import cycle
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant, task

from bench.loadtest.requests import forms, load_images

_FOLDER = os.environ.get("HAL_IMAGES")
_FORMS = cycle(forms(load_images(Path(_FOLDER) if _FOLDER else None).data, int(os.environ.get("HAL_BULK", "1"))))
_KEY = os.environ.get("HAL_API_KEY")


class Analyser(FastHttpUser):
    """A client that sends cells one after another."""

    wait_time = constant(0)

    @task
    def classify(self) -> None:
        """One request; an answer without a classified image is a failure."""
        form = next(_FORMS)
        body: Any = form.body  # bytes, which Locust sends as they are and has no type for
        headers = {"Content-Type": form.content_type} | ({"Authorization": f"Bearer {_KEY}"} if _KEY else {})
        with self.client.post("/classify", data=body, headers=headers, catch_response=True) as answer:
            if answer.status_code == 200:
                answer.success()
            else:
                answer.failure(f"{answer.status_code}: {answer.text[:100]}")
