"""Peers that classify images: one batch of images (B, 3, H, W) to logits (B, classes)."""

import numpy as np
from peer_onnx import in_8_bits, session
from peer_serve import serve


def load(setup):
    images = np.load(setup["images"])
    make = {"transformers": transformers, "openvino": openvino, "onnxruntime": onnxruntime}[setup["library"]]
    return make(setup["folder"], setup["precision"], setup["threads"], images)


def transformers(folder, precision, threads, images):
    import torch
    from transformers import AutoModelForImageClassification

    torch.set_num_threads(threads)
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    model = AutoModelForImageClassification.from_pretrained(folder, dtype=kind, attn_implementation="sdpa").eval()
    x = torch.from_numpy(images).to(kind)

    def run():
        with torch.inference_mode():
            return model(pixel_values=x).logits.float().numpy()

    return run


def exported(folder, images):
    """The model as an ONNX file for batches of this size."""
    from pathlib import Path

    import torch
    from transformers import AutoModelForImageClassification

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = AutoModelForImageClassification.from_pretrained(folder, attn_implementation="eager").eval()

        def forward(self, images):
            return self.model(pixel_values=images).logits

    kept = Path(folder) / "peer.onnx"
    if not kept.exists():
        with torch.no_grad():
            torch.onnx.export(
                Logits().eval(), (torch.from_numpy(images),), kept, input_names=["images"], output_names=["logits"],
                dynamo=True, external_data=False, verbose=False,
            )  # fmt: skip
    return str(kept)


def openvino(folder, precision, threads, images):
    import openvino as ov

    core = ov.Core()
    model = core.read_model(exported(folder, images))
    if precision == "int8":
        import nncf

        some = nncf.Dataset([images, images[::-1].copy()])
        model = nncf.quantize(model, some, model_type=nncf.ModelType.TRANSFORMER, subset_size=2)
    has = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    hint = {"fp32": "f32", "bf16": "bf16", "int8": "bf16" if "BF16" in has else "f32"}[precision]
    options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    return lambda: np.array(request.infer([images], share_inputs=True, share_outputs=True)["logits"])


def onnxruntime(folder, precision, threads, images):
    path = exported(folder, images)
    if precision == "int8":
        path = in_8_bits(path, op_types_to_quantize=["MatMul", "Gemm"])
    ready = session(path, threads)
    return lambda: ready.run(["logits"], {"images": images})[0]


if __name__ == "__main__":
    serve(load)
