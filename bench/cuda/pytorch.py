"""PyTorch on the same GPU, for bench/cuda/networks.cc: python3 pytorch.py [--compiled SECONDS] [--data CROPS] [NETWORK...]. channels-last,
eager, then torch.compile, as far as SECONDS go; f32, TF32 and bf16 autocast; cuDNN's benchmark mode. Lines of the same form; the peaks are
those of the process so far. --data: a folder of crops for the row of a whole epoch (JPEG or PNG decoded by the loader's processes).
"""
import argparse, os, sys, time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "opponents"))
import torch
from torch import nn

import network, training

CLASSES, TEMPLATES, PAIRS = 5749, 23124, 15658489
PRECISIONS = ("f32", "tf32", "bf16")


def seconds_of(step, times):
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(times):
        step()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def report(what, items, unit, step):
    torch.cuda.reset_peak_memory_stats()
    seconds_of(step, 3)
    times = max(1, int(0.1 / max(1e-6, seconds_of(step, 3) / 3)))
    rate = sorted(items * times / seconds_of(step, times) for _ in range(5))
    spread, peak = 100 * (rate[4] - rate[0]) / rate[2], torch.cuda.max_memory_allocated() / 1e6
    print(f"{what:52s} {rate[2]:10.1f} {unit}/s  spread {spread:4.1f}%  peak {peak:7.1f} MB", flush=True)


def on_gpu(name):
    return network.iresnet(network.BLOCKS[name]).cuda().to(memory_format=torch.channels_last)


def cast(precision):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return lambda: torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16")


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=1e-4, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=True)


class EkdStep:
    """A step of w6a6 distillation with the published quantizers."""

    def __init__(self, name, precision, run=lambda net: net):
        self.teacher, student = run(on_gpu(name)), training.quantizers()(on_gpu(name).train(), 6).cuda()
        self.student, self.cast = run(student), cast(precision)
        self.parameters = list(student.parameters())
        self.sgd = sgd(self.parameters)
        self.anchors = {k: torch.zeros(6, device="cuda") for k in "st"}

    def __call__(self, x, labels):
        with self.cast():
            with torch.no_grad():
                target = self.teacher(x).float()
            embedding = self.student(x).float()
        loss = training.ekd(embedding, target, labels, self.anchors)
        self.sgd.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 5)
        self.sgd.step()
        return loss


def measure(name, batch, precision, compiled):
    run = (lambda net: torch.compile(net, dynamic=False)) if compiled else lambda net: net
    autocast = cast(precision)
    x = torch.rand(batch, 3, 112, 112, device="cuda").mul_(2).sub_(1).to(memory_format=torch.channels_last)
    labels = torch.arange(batch, device="cuda") // 4
    what = f"{name} b{batch} {precision} {'compiled' if compiled else 'eager'} "

    def inference():
        with torch.inference_mode(), autocast():
            net(x)

    def train():
        with autocast():
            logits = nn.functional.linear(nn.functional.normalize(net(x)), nn.functional.normalize(centres))
        loss = nn.functional.cross_entropy(64 * logits.float(), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    net = run(on_gpu(name).eval())
    report(what + "inference", batch, "images", inference)
    plain = on_gpu(name).train()
    net, centres = run(plain), nn.Parameter(0.01 * torch.randn(CLASSES, 512, device="cuda"))
    optimiser = sgd([*plain.parameters(), centres])
    report(what + "training step", batch, "images", train)
    step = EkdStep(name, precision, run)
    report(what + "EKD step", batch, "images", lambda: step(x, labels))


def measure_pairs():
    """Scores of IJB-C's number of pairs, in f32 (ours: f64), from the host's templates and indices to the host's scores."""
    unit = nn.functional.normalize(torch.rand(TEMPLATES, 512) - 0.5)
    pairs = torch.randint(TEMPLATES, (2, PAIRS), dtype=torch.int32)

    def scores():
        rows, (a, b), out = unit.cuda(), pairs.cuda(), torch.empty(PAIRS, device="cuda")
        for at in range(0, PAIRS, 1 << 18):
            part = slice(at, at + (1 << 18))
            out[part] = (rows[a[part]] * rows[b[part]]).sum(1)
        return out.cpu()

    report("IJB-C's pairs", PAIRS, "pairs", scores)


def epoch(name, batch, data, precision):
    """EKD over every crop of a folder once, flipped half of the time; whole batches only."""
    import numpy
    from PIL import Image

    class Crops(torch.utils.data.Dataset):
        files = sorted(os.path.join(folder, f) for folder, _, names in os.walk(data) for f in names if f.endswith((".png", ".jpg")))
        people = {p: i for i, p in enumerate(sorted({os.path.dirname(f) for f in files}))}

        def __len__(self):
            return len(self.files)

        def __getitem__(self, i):
            pixels = torch.from_numpy(numpy.asarray(Image.open(self.files[i]).convert("RGB"))).permute(2, 0, 1)
            return pixels.flip(2) if torch.rand(()) < 0.5 else pixels, self.people[os.path.dirname(self.files[i])]

    loader = torch.utils.data.DataLoader(Crops(), batch, shuffle=True, num_workers=os.cpu_count(), pin_memory=True, drop_last=True,
                                         persistent_workers=True, prefetch_factor=4)
    step = EkdStep(name, precision)
    for when in ("first", "second"):
        start, images = time.perf_counter(), 0
        for x, labels in loader:
            x = x.cuda(non_blocking=True).to(memory_format=torch.channels_last).float().sub_(127.5).div_(127.5)
            loss = step(x, labels.cuda(non_blocking=True))
            images += len(x)
        loss.item()
        seconds = time.perf_counter() - start
        print(f"{name} b{batch} {precision} eager EKD, {when} epoch of {images} images: {seconds:.2f} s, {images / seconds:.1f} images/s", flush=True)


def tried(what, step, *arguments):
    try:
        step(*arguments)
    except Exception as error:  # what this PyTorch cannot do is a line, not the end
        print(what, type(error).__name__, str(error).splitlines()[0], flush=True)
    torch._dynamo.reset()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*", default=["iresnet18", "iresnet50", "iresnet100"])
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 256])
    parser.add_argument("--eager", type=float, default=600, help="seconds for eager rows")
    parser.add_argument("--compiled", type=float, default=600, help="seconds for torch.compile's rows")
    parser.add_argument("--data", help="a folder of crops, for epochs")
    parser.add_argument("--epochs", nargs="+", default=PRECISIONS, help="precisions of the epochs")
    o = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    print("PyTorch", torch.__version__, "cuDNN", torch.backends.cudnn.version(), torch.cuda.get_device_name(0), flush=True)
    tried("IJB-C's pairs", measure_pairs)
    for compiled, seconds in ((False, o.eager), (True, o.compiled)):
        end = time.monotonic() + seconds
        for name in o.networks:
            for batch in o.batches:
                for precision in PRECISIONS:
                    if time.monotonic() > end:
                        print(f"{name} b{batch} {precision}: the {seconds:.0f} seconds are over", flush=True)
                        continue
                    tried(f"{name} b{batch} {precision}", measure, name, batch, precision, compiled)
        if not compiled and o.data:
            for precision in o.epochs:
                tried("epoch", epoch, o.networks[0], 64, o.data, precision)


if __name__ == "__main__":
    main()
