"""What training and service must agree on: the classes, the bundle and the decision."""

import os

# OpenBLAS reads this when NumPy is first imported. The product that novelty takes of each batch is small: more threads
# gain nothing and wait by spinning beside ONNX Runtime's, which costs a fifth of the images per second on two cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
