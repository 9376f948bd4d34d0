"""What of a run leaves it: bundle, ONNX, a stand-alone score.py, report, code. Start with `formats.FORMATS`."""
