#!/usr/bin/env python3
"""A training step of a network (CosFace) and its distillation step (w6a6, EKD), f32, batch 64: Vitrine next to PyTorch, in one run, each in
a process of its own.

    make build/vitrine && python3 -m venv opp && opp/bin/pip install torch numpy
    opp/bin/python bench/opponents/training.py --data lfw_112 --threads 2 --steps 6

Prints per workload and contender the median of the steps after the first two, spread (max - min) / median, images per second and peak
resident memory. PyTorch runs in each mode that could be its best (eager and channels_last; torch.compile where a C++ compiler is found) on
random images that are in memory already, with memory pooled by glibc's tunables; Vitrine reads, decodes and prefetches the crops of --data.
"""
import argparse, json, os, re, statistics, subprocess, sys, tempfile, time

import network  # beside this file: IResNets and the pooled memory

MODES = ["eager", "channels_last", "compiled channels_last"]
CLASSES = 5749


def quantizers():
    """The published fake-quantizers: straight-through, ranges of weights per output channel, of activations by running extremes."""
    import torch
    from torch import nn

    def scale_of(lo, hi, bits):
        n = 2**bits - 1
        scale = n / torch.clamp(hi - lo, min=1e-8)
        return scale, torch.round(scale * lo) + 2 ** (bits - 1)

    class Quantize(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, scale, zp, bits):
            q = torch.clamp(torch.round(scale * x - zp), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            return (q + zp) / scale

        @staticmethod
        def backward(ctx, g):
            return g, None, None, None

    def weight(w, bits, per_channel=True):
        rows = w.detach().reshape(w.shape[0] if per_channel else 1, -1)
        lo, hi = rows.min(1).values, rows.max(1).values
        scale, zp = (v.view(-1, *[1] * (w.dim() - 1)) for v in scale_of(lo, hi, bits))
        return Quantize.apply(w, scale, zp, bits)

    class Activation(nn.Module):
        def __init__(self, bits):
            super().__init__()
            self.bits = bits
            self.register_buffer("lo", torch.zeros(1))
            self.register_buffer("hi", torch.zeros(1))

        def forward(self, x):
            self.lo, self.hi = torch.minimum(self.lo, x.detach().min()), torch.maximum(self.hi, x.detach().max())
            return Quantize.apply(x, *scale_of(self.lo, self.hi, self.bits), self.bits)

    class Conv(nn.Module):
        def __init__(self, conv, bits):
            super().__init__()
            self.conv, self.bits = conv, bits

        def forward(self, x):
            return torch.nn.functional.conv2d(x, weight(self.conv.weight, self.bits), None, self.conv.stride, self.conv.padding, groups=self.conv.groups)

    class Linear(nn.Module):
        def __init__(self, linear, bits):
            super().__init__()
            self.linear, self.bits = linear, bits

        def forward(self, x):
            return torch.nn.functional.linear(x, weight(self.linear.weight, self.bits), self.linear.bias)

    class PRelu(nn.Module):
        def __init__(self, prelu, bits):
            super().__init__()
            self.prelu, self.bits, self.act = prelu, bits, Activation(bits)

        def forward(self, x):
            return self.act(torch.nn.functional.prelu(x, weight(self.prelu.weight, self.bits, per_channel=False)))

    class Then(nn.Module):
        def __init__(self, block, bits):
            super().__init__()
            self.block, self.act = block, Activation(bits)

        def forward(self, x):
            return self.act(self.block(x))

    def quantized(module, bits):
        for name, child in module.named_children():
            made = quantized(child, bits)
            if isinstance(child, nn.Conv2d):
                made = Conv(child, bits)
            elif isinstance(child, nn.Linear):
                made = Linear(child, bits)
            elif isinstance(child, nn.PReLU):
                made = PRelu(child, bits)
            elif type(child).__name__ == "Block" or getattr(child, "add", False):
                made = Then(child, bits)
            setattr(module, name, made)
        return module

    return quantized


def ekd(student, teacher, labels, anchors):
    import torch

    def ranks(s, a):
        return torch.sigmoid(torch.clamp((s[:, None] - a) / 0.01, -50, 50)).sum(1)

    n = len(labels)
    pairs = torch.triu(torch.ones(n, n, dtype=torch.bool, device=student.device), 1)
    same = labels[:, None] == labels[None, :]
    s, t = (torch.nn.functional.normalize(e) @ torch.nn.functional.normalize(e).T for e in (student, teacher))
    loss, negatives = s.sum() * 0, pairs & ~same
    order = torch.argsort(s.detach()[negatives], descending=True)
    at = [len(order) // 10 ** (k + 1) for k in range(6)]
    for name, values in (("s", s.detach()[negatives][order]), ("t", torch.sort(t[negatives], descending=True).values)):
        anchors[name] = 0.01 * values[at] + 0.99 * anchors[name]
    if (pairs & same).any():
        loss = loss + 0.02 * (ranks(s[pairs & same], anchors["s"]) - ranks(t[pairs & same], anchors["t"])).square().mean()
    hard = order[:2000]
    return loss + 0.01 * (ranks(s[negatives][hard], anchors["s"]) - ranks(t[negatives][hard], anchors["t"])).square().mean()


def cosface(embedding, weight, labels):
    import torch

    cosine = torch.nn.functional.normalize(embedding) @ torch.nn.functional.normalize(weight).T
    margin = torch.nn.functional.one_hot(labels, weight.shape[0]) * 0.4
    return torch.nn.functional.cross_entropy(64 * (cosine - margin), labels)


def torch_steps(name, workload, mode, threads, steps, batch):
    import torch

    torch.manual_seed(1)
    torch.set_num_threads(threads)
    net, teacher = network.build(name).train(), network.build(name).eval()
    if workload == "distil":
        net = quantizers()(net, 6)
    x, labels = torch.randn(batch, 3, 112, 112), torch.arange(batch) // 2
    if "channels_last" in mode:
        net, teacher, x = (v.to(memory_format=torch.channels_last) for v in (net, teacher, x))
    parameters, head = list(net.parameters()), torch.nn.Parameter(torch.randn(CLASSES, 128 if name == "mobilefacenet" else 512) * 0.01)
    optimiser = torch.optim.SGD(parameters + ([head] if workload == "train" else []), 0.001, 0.9, weight_decay=5e-4, nesterov=True)
    anchors = {"s": torch.zeros(6), "t": torch.zeros(6)}
    if "compiled" in mode:
        net, teacher = torch.compile(net), torch.compile(teacher)

    def step():
        optimiser.zero_grad(set_to_none=True)
        if workload == "train":
            loss = cosface(net(x), head, labels)
        else:
            with torch.no_grad():
                target = teacher(x)
            loss = ekd(net(x), target, labels, anchors)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5)
        optimiser.step()
        return loss.item()

    times = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    print(json.dumps(times))


def vitrine_steps(name, workload, data, threads, steps, batch):
    """Every step of a short run prints a line; the times between them."""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    with tempfile.TemporaryDirectory() as folder:
        command = [f"{root}/build/vitrine", "train" if workload == "train" else "quantize", "--data", data, "--threads", str(threads), "--batch", str(batch),
                   "--out", f"{folder}/run", "--checkpoint-every", "1000000"]
        if workload == "train":
            images = sum(len(files) for _, _, files in os.walk(data))
            command += ["--arch", name, "--epochs", "1", "--fraction", str((steps + 0.5) * batch / images), "--lr", "0.001"]
        else:
            with open(f"{folder}/batches.txt", "w") as file:
                for step in range(steps):
                    file.write(" ".join(str(step * batch + i) for i in range(batch)) + "\n")
            command += [name, "--bits", "w6a6", "--finetune", "ekd", "--batches", f"{folder}/batches.txt"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        last, times, said = time.perf_counter(), [], ""
        for line in process.stderr:
            said += line
            if re.match(r"train \[.*steps", line):
                now = time.perf_counter()
                times.append(now - last)
                last = now
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(said[-2000:])
        return times, usage.ru_maxrss / 1024


def main():
    if "--child" in sys.argv:
        name, workload, mode, threads, steps, batch = sys.argv[2:]
        return torch_steps(name, workload, mode, int(threads), int(steps), int(batch))
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True, help="a folder of 112 x 112 crops, a folder for each identity")
    parser.add_argument("--network", default="iresnet18", choices=network.NETWORKS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6, help="at most 10")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workloads", nargs="+", default=["train", "distil"], choices=["train", "distil"])
    parser.add_argument("--modes", nargs="+", default=["vitrine", *MODES])
    o = parser.parse_args()
    print(f"{'':42} {'median ms':>10} {'spread':>7} {'images/s':>9} {'peak MB':>8}")
    for workload in o.workloads:
        for mode in o.modes:
            if mode == "vitrine":
                times, memory = vitrine_steps(o.network, workload, o.data, o.threads, o.steps, o.batch)
            else:
                out, memory = network.run([sys.executable, __file__, "--child", o.network, workload, mode, str(o.threads), str(o.steps), str(o.batch)],
                                          {**os.environ, **network.POOLED})
                times = json.loads(out.splitlines()[-1])
            steady = times[2:]
            median = statistics.median(steady)
            spread = (max(steady) - min(steady)) / median
            print(f"{o.network + ' ' + workload + ' b' + str(o.batch) + ' ' + mode:42} {median * 1e3:10.1f} {spread:7.0%} {o.batch / median:9.2f} {memory:8.0f}", flush=True)


if __name__ == "__main__":
    main()
