"""A batch of images to logits. The only package that knows ONNX Runtime."""
