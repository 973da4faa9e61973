"""What a running service says about its batches."""

import re
import urllib.request
from dataclasses import dataclass

_SAMPLE = re.compile(r"^(hal_(?:batch_images|device_seconds)_(?:sum|count))(?:\{\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Batches:
    """Counted since the start: batches, the images in them, seconds of the device."""

    count: float
    images: float
    device_s: float

    @classmethod
    def of(cls, port: int) -> "Batches":
        """Ask the service on a port of this machine."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            samples = dict(_SAMPLE.findall(response.read().decode()))
        return cls(
            float(samples["hal_batch_images_count"]),
            float(samples["hal_batch_images_sum"]),
            float(samples["hal_device_seconds_sum"]),
        )

    def since(self, before: "Batches") -> "Batches":
        """What was added since ``before``."""
        return Batches(self.count - before.count, self.images - before.images, self.device_s - before.device_s)

    @property
    def mean_images(self) -> float:
        """Images in a batch, on average over batches."""
        return self.images / self.count if self.count else 0.0
