"""Export of a run's generator: model packages, model cards and ONNX."""
