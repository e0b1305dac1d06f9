"""Prints the logits that ONNX Runtime computes: run_onnx.py MODEL IMAGES CHANNELS HEIGHT WIDTH.

IMAGES holds float32 values. Exit code 77 where ONNX Runtime or NumPy is missing.
"""

import json
import sys

try:
    import numpy
    import onnxruntime
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(77)

model, images, *shape = sys.argv[1:]
batch = numpy.fromfile(images, dtype=numpy.float32).reshape(-1, *map(int, shape))
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
(entry,) = session.get_inputs()
(logits,) = session.run(None, {entry.name: batch})
print(json.dumps(logits.tolist()))
