"""What peers that run ONNX files share."""

import shutil


def in_8_bits(path, **options):
    """The file with the matrices of its products in 8 bits, a scale for each output; inputs are rounded as they come."""
    import onnx
    from onnxruntime.quantization import quant_pre_process, quantize_dynamic

    small, ready = path.replace(".onnx", ".int8.onnx"), path.replace(".onnx", ".ready.onnx")
    try:
        quant_pre_process(path, ready, skip_symbolic_shape=True)
    except Exception:  # it only helps the quantiser
        shutil.copy(path, ready)
    model = onnx.load(ready)
    del model.graph.value_info[:]  # the quantiser transposes a matrix and leaves its old shape there
    onnx.save(model, ready)
    quantize_dynamic(ready, small, per_channel=True, **options)
    return small


def session(path, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
