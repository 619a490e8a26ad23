"""PyTorch on the same GPU, for bench/cuda/networks.cc: python3 pytorch.py [NETWORK...]. IResNet as InsightFace publishes it, written from
its description; channels-last, eager and torch.compile; f32, TF32 and bf16 autocast. Prints lines of the same form."""
import sys
import time

import torch
from torch import nn

BLOCKS = {"iresnet18": (2, 2, 2, 2), "iresnet50": (3, 4, 14, 3), "iresnet100": (3, 13, 30, 3)}


class Block(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm2d(i), nn.Conv2d(i, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o), nn.PReLU(o),
                                  nn.Conv2d(o, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o))
        self.skip = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)) if stride > 1 or i != o else nn.Identity()

    def forward(self, x):
        return self.body(x) + self.skip(x)


def iresnet(blocks):
    layers, i = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)], 64
    for o, n in zip((64, 128, 256, 512), blocks):
        for k in range(n):
            layers.append(Block(i, o, 2 if k == 0 else 1))
            i = o
    return nn.Sequential(*layers, nn.BatchNorm2d(512), nn.Flatten(), nn.Linear(512 * 49, 512), nn.BatchNorm1d(512))


def seconds_of(step, times):
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(times):
        step()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def report(what, images, step):
    seconds_of(step, 3)
    times = max(1, int(0.5 / max(1e-6, seconds_of(step, 1))))
    rate = sorted(images * times / seconds_of(step, times) for _ in range(5))
    print(f"{what:52s} {rate[2]:10.1f} images/s  spread {100 * (rate[4] - rate[0]) / rate[2]:4.1f}%", flush=True)


def measure(name, batch, precision, compiled):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    x = torch.rand(batch, 3, 112, 112, device="cuda").mul_(2).sub_(1).to(memory_format=torch.channels_last)
    labels = torch.arange(batch, device="cuda") // 4
    net = iresnet(BLOCKS[name]).cuda().to(memory_format=torch.channels_last)
    centres = nn.Parameter(0.01 * torch.randn(5749, 512, device="cuda"))
    sgd = torch.optim.SGD([*net.parameters(), centres], lr=1e-4, momentum=0.9, weight_decay=5e-4, nesterov=True)
    run = torch.compile(net) if compiled else net
    cast = lambda: torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16")

    def inference():
        with torch.inference_mode(), cast():
            run(x)

    def training():
        with cast():
            logits = nn.functional.linear(nn.functional.normalize(run(x)), nn.functional.normalize(centres))
        loss = nn.functional.cross_entropy(64 * logits.float(), labels)
        sgd.zero_grad(set_to_none=True)
        loss.backward()
        sgd.step()

    what = f"{name} b{batch} {precision} {'compiled' if compiled else 'eager'} "
    net.eval()
    report(what + "inference", batch, inference)
    net.train()
    report(what + "training step", batch, training)


torch.backends.cudnn.benchmark = True
print("PyTorch", torch.__version__, torch.cuda.get_device_name(0), flush=True)
for precision in ("f32", "tf32", "bf16"):
    for network in sys.argv[1:] or BLOCKS:
        for size in (64, 256):
            for compiled in (False, True):
                try:
                    measure(network, size, precision, compiled)
                except Exception as error:  # a mode that this PyTorch cannot do is a line, not the end
                    print(network, size, precision, "compiled" if compiled else "eager", type(error).__name__, error, flush=True)
