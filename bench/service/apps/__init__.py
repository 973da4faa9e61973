"""What is compared: each a script that serves one ONNX graph and imports nothing of HAL unless it is HAL."""
