"""The trained network as an ONNX graph."""
