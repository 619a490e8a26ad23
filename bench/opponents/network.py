#!/usr/bin/env python3
"""Whole-network f32 inference: Vitrine next to PyTorch and ONNX Runtime, in one run, each in a process of its own.

    make build/vitrine && make bench BENCH_ARGS=--benchmark_list_tests >/dev/null
    python3 -m venv opp && opp/bin/pip install torch numpy onnxruntime onnx
    opp/bin/python bench/opponents/network.py --threads 2 --networks iresnet18 iresnet50 --batches 1 32

Prints per network, batch and contender: median of the repetitions, spread (max - min) / median, images per second, peak resident memory of
the process. PyTorch runs in every mode that could be its best (below); memory is pooled, since the default hands large tensors back to
the system after each call: by glibc's tunables, or by the library that POOL names (.../libjemalloc.so.2, .../libtcmalloc_minimal.so.4).
Vitrine's memory is that of `vitrine embed` on the same batch.
"""
import argparse, json, os, re, statistics, subprocess, sys, tempfile, time

TUNABLES = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296", "MALLOC_TOP_PAD_": "67108864"}
POOLED = {"LD_PRELOAD": os.environ["POOL"]} if "POOL" in os.environ else TUNABLES
MODES = ["eager", "channels_last", "frozen", "frozen channels_last", "compiled channels_last", "onnxruntime"]
BLOCKS = {"iresnet18": (2, 2, 2, 2), "iresnet34": (3, 4, 6, 3), "iresnet50": (3, 4, 14, 3), "iresnet100": (3, 13, 30, 3)}
NETWORKS = [*BLOCKS, "mobilefacenet"]


def iresnet(blocks):
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, i, o, stride):
            super().__init__()
            self.bn1, self.conv1 = nn.BatchNorm2d(i), nn.Conv2d(i, o, 3, 1, 1, bias=False)
            self.bn2, self.prelu = nn.BatchNorm2d(o), nn.PReLU(o)
            self.conv2, self.bn3 = nn.Conv2d(o, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
            self.down = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)) if stride != 1 else nn.Identity()

        def forward(self, x):
            return self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x)))))) + self.down(x)

    layers, width = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)], 64
    for stage, count in enumerate(blocks):
        for b in range(count):
            layers.append(Block(width, 64 << stage, 2 if b == 0 else 1))
            width = 64 << stage
    return nn.Sequential(*layers, nn.BatchNorm2d(512), nn.Flatten(), nn.Linear(512 * 49, 512), nn.BatchNorm1d(512)).eval()


def mobilefacenet():
    import torch
    from torch import nn

    def conv(i, o, kernel, stride=1, pad=0, groups=1, act=True):
        return [nn.Conv2d(i, o, kernel, stride, pad, groups=groups, bias=False), nn.BatchNorm2d(o), *[nn.PReLU(o)] * act]

    class Bottleneck(nn.Module):
        def __init__(self, i, o, stride, expansion):
            super().__init__()
            mid = i * expansion
            self.conv = nn.Sequential(*conv(i, mid, 1), *conv(mid, mid, 3, stride, 1, mid), *conv(mid, o, 1, act=False))
            self.add = stride == 1 and i == o

        def forward(self, x):
            return self.conv(x) + x if self.add else self.conv(x)

    layers, width = [*conv(3, 64, 3, 2, 1), *conv(64, 64, 3, 1, 1, 64)], 64
    for expansion, channels, repeats, stride in ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1)):
        for b in range(repeats):
            layers.append(Bottleneck(width, channels, stride if b == 0 else 1, expansion))
            width = channels
    return nn.Sequential(*layers, *conv(128, 512, 1), *conv(512, 512, 7, groups=512, act=False), *conv(512, 128, 1, act=False), nn.Flatten()).eval()


def build(network):
    return mobilefacenet() if network == "mobilefacenet" else iresnet(BLOCKS[network])


def onnxruntime_call(file, batch, threads):
    import numpy, onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: numpy.random.randn(batch, 3, 112, 112).astype(numpy.float32)}
    return lambda: session.run(None, feed)


def torch_call(mode, network, batch, threads):
    import torch

    torch.manual_seed(1)
    torch.set_num_threads(threads)
    net, x = build(network), torch.randn(batch, 3, 112, 112)
    if "channels_last" in mode:
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    if "frozen" in mode:
        with torch.no_grad():
            net = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, x)))
    if "compiled" in mode:
        import torch._inductor.config

        torch._inductor.config.freezing = True
        net = torch.compile(net)

    def call():
        with torch.no_grad() if "compiled" in mode else torch.inference_mode():
            net(x)

    return call


def export(network, batch, file):
    import torch

    torch.manual_seed(1)
    torch.onnx.export(build(network), torch.randn(batch, 3, 112, 112), file, dynamo=False)


def child(mode, network, batch, threads, repetitions, file):
    if mode == "export":
        return export(network, batch, file)
    call = onnxruntime_call(file, batch, threads) if mode == "onnxruntime" else torch_call(mode, network, batch, threads)
    for _ in range(5):
        call()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    print(json.dumps(times))


def run(command, env=None):
    """Standard output and peak resident MB of a process."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    out, err = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command[0]}: {err[-2000:]}")
    return out, usage.ru_maxrss / 1024


def vitrine(network, batch, threads, repetitions):
    import numpy

    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    out, _ = run([f"{root}/build/release-0/bin/bench", f"--threads={threads}", f"--benchmark_repetitions={repetitions}", "--benchmark_min_time=0.001",
                  f"--benchmark_filter=^{network} b{batch} network forward/"])
    median, spread = re.search(r"network forward\s+([\d.]+)\s+(\d+)%", out).groups()
    with tempfile.TemporaryDirectory() as folder:
        numpy.save(f"{folder}/x.npy", numpy.zeros((batch, 3, 112, 112), numpy.float32))
        _, memory = run([f"{root}/build/vitrine", "embed", network, "--tensor", f"{folder}/x.npy", "--out", f"{folder}/e.npy", "--threads", str(threads)])
    return float(median) / 1e6, float(spread) / 100, memory


def opponent(mode, network, batch, threads, repetitions):
    with tempfile.TemporaryDirectory() as folder:
        start = lambda what: run([sys.executable, __file__, "--child", what, network, str(batch), str(threads), str(repetitions), f"{folder}/net.onnx"],
                                 {**os.environ, **POOLED})
        if mode == "onnxruntime":
            start("export")  # in a process of its own: its memory is not the runtime's
        out, memory = start(mode)
    times = json.loads(out.splitlines()[-1])
    median = statistics.median(times)
    return median, (max(times) - min(times)) / median, memory


def main():
    if "--child" in sys.argv:
        mode, network, batch, threads, repetitions, file = sys.argv[2:]
        return child(mode, network, int(batch), int(threads), int(repetitions), file)
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--networks", nargs="+", default=["iresnet18"], choices=NETWORKS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--modes", nargs="+", default=MODES)
    o = parser.parse_args()
    print(f"{'':42} {'median ms':>10} {'spread':>7} {'images/s':>9} {'peak MB':>8}")
    for network in o.networks:
        for batch in o.batches:
            repetitions = 30 if batch == 1 else 5
            for mode in ["vitrine", *o.modes]:
                measured = vitrine(network, batch, o.threads, repetitions) if mode == "vitrine" else opponent(mode, network, batch, o.threads, repetitions)
                print(f"{network + ' b' + str(batch) + ' ' + mode:42} {measured[0] * 1e3:10.2f} {measured[1]:7.0%} {batch / measured[0]:9.1f} {measured[2]:8.0f}", flush=True)


if __name__ == "__main__":
    main()
