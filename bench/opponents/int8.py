#!/usr/bin/env python3
"""Whole-network int8 inference: Vitrine next to PyTorch and ONNX Runtime, in one run, each in a process of its own.

    make build/vitrine
    python3 -m venv opp && opp/bin/pip install torch torchao numpy onnxruntime onnx
    opp/bin/python bench/opponents/int8.py --threads 2 --networks iresnet18 iresnet50 --batches 1 32

PyTorch: post-training static quantization, weights per channel: of the exported graph, compiled and frozen for x86 ("inductor", oneDNN's
convolutions between generated loops), and in FX graph mode for each of its eager engines, traced and frozen. ONNX Runtime:
static quantization of the exported model, u8 activations, s8 weights per channel, as operators and as quantize-dequantize pairs. Every model
is calibrated on the same random images; only time is compared here, with one thread time on the processor, for a machine that is not alone.
Vitrine: the packed network by `vitrine bench`, wall time, from the image as floats to the embedding.
"""
import argparse, json, os, statistics, sys, tempfile

from network import NETWORKS, POOLED, build, run

MODES = ["torch inductor", "torch x86", "torch onednn", "torch fbgemm", "onnxruntime operators", "onnxruntime qdq"]


def torch_int8(net, x, engine):
    import torch
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    torch.backends.quantized.engine = engine
    with torch.no_grad():
        prepared = prepare_fx(net, get_default_qconfig_mapping(engine), (x,))
        prepared(x)
        traced = torch.jit.freeze(torch.jit.trace(convert_fx(prepared).to(memory_format=torch.channels_last), x))

    def call():
        with torch.inference_mode():
            traced(x)

    return call


def inductor_int8(net, x):
    import torch
    import torch._inductor.config
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer as x86
    import torchao.quantization.pt2e.inductor_passes.x86  # noqa: F401, whose patterns it needs

    torch._inductor.config.freezing = True
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
    with torch.no_grad():
        prepared = prepare_pt2e(torch.export.export(net, (x,)).module(), quantizer)
        prepared(x)
        compiled = torch.compile(convert_pt2e(prepared))

    def call():
        with torch.no_grad():
            compiled(x)

    return call


def onnxruntime_int8(net, x, form, threads):
    import onnxruntime
    import torch
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    folder = tempfile.mkdtemp()
    files = [f"{folder}/{name}.onnx" for name in ("float", "prepared", "int8")]
    torch.onnx.export(net, x, files[0], dynamo=False)
    name = onnxruntime.InferenceSession(files[0]).get_inputs()[0].name

    class Images(CalibrationDataReader):
        images = iter([{name: x.numpy()}])

        def get_next(self):
            return next(self.images, None)

    quant_pre_process(files[0], files[1], skip_symbolic_shape=True)
    quantize_static(files[1], files[2], Images(), per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    quant_format=QuantFormat.QDQ if form == "qdq" else QuantFormat.QOperator)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(files[2], options, providers=["CPUExecutionProvider"])
    feed = {name: x.numpy()}
    return lambda: session.run(None, feed)


def child(mode, network, batch, threads, repetitions):
    import time

    import torch

    torch.manual_seed(1)
    torch.set_num_threads(threads)
    net, x = build(network), torch.randn(batch, 3, 112, 112)
    library, form = mode.split()
    if mode == "torch inductor":
        call = inductor_int8(net, x)
    elif library == "torch":
        call = torch_int8(net, x.to(memory_format=torch.channels_last), form)
    else:
        call = onnxruntime_int8(net, x, form, threads)
    times, clock = [], time.process_time if threads == 1 else time.perf_counter
    for _ in range(repetitions + 5):
        start = clock()
        call()
        times.append(clock() - start)
    print(json.dumps(times[5:]))


def opponent(mode, network, batch, threads, repetitions):
    arguments = [mode, network, str(batch), str(threads), str(repetitions)]
    out, memory = run([sys.executable, __file__, "--child", *arguments], {**os.environ, **POOLED})
    times = json.loads(out.splitlines()[-1])
    median = statistics.median(times)
    return median, (max(times) - min(times)) / median, memory


def vitrine(network, batch, threads, repetitions, bits):
    """The whole packed network, image to embedding, as `vitrine bench` runs it."""
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "vitrine")
    out, memory = run([program, "bench", network, "--bits", bits, "--batch", str(batch), "--repetitions", str(repetitions), "--threads", str(threads), "--json", "-"], os.environ)
    row = json.loads(out)["rows"][0]
    return row["median_ns"] / 1e9, row["spread"], memory


def main():
    if "--child" in sys.argv:
        mode, network, *numbers = sys.argv[2:]
        return child(mode, network, *map(int, numbers))
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--networks", nargs="+", default=["iresnet18"], choices=NETWORKS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--modes", nargs="+", default=["vitrine w8a8", "vitrine w6a6", *MODES])
    o = parser.parse_args()
    print(f"{'':42} {'median ms':>10} {'spread':>7} {'images/s':>9} {'peak MB':>8}")
    for network in o.networks:
        for batch in o.batches:
            for mode in o.modes:
                numbers = network, batch, o.threads, 30 if batch == 1 else 5
                median, spread, memory = vitrine(*numbers, mode.split()[1]) if mode.startswith("vitrine") else opponent(mode, *numbers)
                print(f"{f'{network} b{batch} {mode}':42} {median * 1e3:10.2f} {spread:7.0%} {batch / median:9.1f} {memory:8.0f}", flush=True)


if __name__ == "__main__":
    main()
