"""``config.pbtxt``: what makes ``models/`` a model repository of the Triton Inference Server.

Source: Triton's ``model_config.proto`` and ``model_repository.md``. Triton serves the graph as it is,
without calibration, policy and flag, which are :mod:`contract.decision`'s.
"""

from pathlib import Path
from typing import Final

from contract.description import BundleDescription
from contract.files import write_text
from contract.parts import IMAGE_SIDE

FILE_NAME: Final = "config.pbtxt"
MAX_BATCH: Final = 64


def config(description: BundleDescription) -> str:
    """The text for a bundle whose first file is to be served."""
    file = description.files[0].path
    outputs = ",\n".join(
        f'  {{ name: "{output.name}" data_type: TYPE_FP32 dims: [ {output.size} ] }}' for output in description.outputs
    )
    return f"""\
# Written by 'hal export'. {description.intended_use}
# Logits become probabilities, a class and a flag only by the calibration and the policy in bundle.json.
name: "{description.name}"
backend: "onnxruntime"
default_model_filename: "{file}"
max_batch_size: {MAX_BATCH}
input [
  {{ name: "{description.input.name}" data_type: TYPE_UINT8 dims: [ {IMAGE_SIDE}, {IMAGE_SIDE}, 3 ] }}
]
output [
{outputs}
]
version_policy {{ latest {{ num_versions: 1 }} }}
# Batches form while the device is busy; an idle device takes what is there at once, as in HAL's own service.
dynamic_batching {{ max_queue_delay_microseconds: 0 }}
"""


def write(bundle: Path, description: BundleDescription) -> Path | None:
    """Write the configuration beside a bundle's version folder, ``models/<name>/<version>``.

    ``None`` where the folders do not follow that layout and so are no model repository.
    """
    if not bundle.name.isdigit() or bundle.parent.name != description.name:
        return None
    path = bundle.parent / FILE_NAME
    write_text(path, config(description))
    return path
