"""What every peer's script does: load contestants, answer, run rounds; asked and answered in JSON lines.

Runs in the peers' environment and imports nothing of panformer. Requests: {"do": "load", "precision": p, ...setup},
{"do": "answer", "precision": p, "to": file.npy}, {"do": "round", "precision": p}, {"do": "drop", "precision": p}. The
end of the input ends it.
"""

import ctypes
import gc
import json
import os
import sys
import time
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "torch",
    "transformers",
    "sentence-transformers",
    "openvino",
    "nncf",
    "onnxruntime",
    "ctranslate2",
    "xllamacpp",
    "litgpt",
)


def serve(load):
    """`load(setup)` -> a call without arguments that does one round of the work and returns its answers, an array;
    or two, where the answers to compare are others than those of the round."""
    wire = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not look like an answer
    calls: dict = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = _done(request, calls, load)
        except Exception as fault:
            answer = {"error": f"{type(fault).__name__}: {' '.join(str(fault).split())[:250]}"}
        wire.write(json.dumps(answer) + "\n")
        wire.flush()


def _done(request, calls, load):
    do, precision = request["do"], request["precision"]
    if do == "drop":
        _drop(calls, precision)
        return {}
    if do == "load":
        _drop(calls, precision)
        made = load(request)
        calls[precision] = made if isinstance(made, tuple) else (made, made)
        return {"versions": {name: v for name in PACKAGES if (v := _version(name)) is not None}}
    if do == "answer":
        import numpy as np

        np.save(request["to"], np.asarray(calls[precision][1](), dtype="float32"))
        return {"to": request["to"]}
    if do == "round":
        began = time.perf_counter()
        calls[precision][0]()
        return {"seconds": time.perf_counter() - began}
    raise ValueError(f"unknown request {do}")


def _drop(calls, precision):
    """Memory that is kept from round to round does not stay for the next job."""
    calls.pop(precision, None)
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def fastest(calls):
    """Of calls that do the same work, the one that is fastest once it is warm."""
    times = []
    for i, call in enumerate(calls):
        call()
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began, i))
    return min(times)[1]


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None
