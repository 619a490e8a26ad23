"""Writes the checkpoints of tests/unit/io_pth_test.cc that shared fixtures lack: every protocol, nesting, and files to be refused.
Standard library only: the classes below stand for PyTorch's, whose pickled form is the format. Run in this folder: python3 make_pth.py"""
import argparse, collections, io, os, pickle, struct, sys, types, zipfile

torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
numpy, multiarray = types.ModuleType("numpy"), types.ModuleType("numpy.core.multiarray")
sys.modules.update({m.__name__: m for m in (torch, utils, numpy, multiarray)})


def fake(module, name):
    f = type(name, (), {}) if name.endswith("Storage") else types.FunctionType((lambda *a: a).__code__, {}, name)
    f.__module__, f.__qualname__ = module.__name__, name
    setattr(module, name, f)
    return f


FloatStorage, LongStorage = fake(torch, "FloatStorage"), fake(torch, "LongStorage")
rebuild, rebuild_parameter = fake(utils, "_rebuild_tensor_v2"), fake(utils, "_rebuild_parameter")


class Storage:
    def __init__(self, kind, code, values):
        self.kind, self.numel, self.data = kind, len(values), struct.pack(f"<{len(values)}{code}", *values)


class Tensor:
    def __init__(self, storage, shape, stride=None, offset=0, parameter=False):
        stride = stride or tuple(int(__import__("math").prod(shape[i + 1:])) for i in range(len(shape)))
        self.args, self.parameter = (storage, offset, shape, stride, False, collections.OrderedDict()), parameter

    def __reduce__(self):
        if not self.parameter:
            return rebuild, self.args
        plain = Tensor(*[self.args[i] for i in (0, 2, 3, 1)])
        return rebuild_parameter, (plain, True, collections.OrderedDict())


def dump(obj, protocol, legacy):
    storages, out = {}, io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, o):
            if not isinstance(o, Storage):
                return None
            key = storages.setdefault(id(o), (str(len(storages)), o))[0]
            return ("storage", o.kind, key, "cuda:0", o.numel) + ((None,) if legacy else ())

    Pickler(out, protocol).dump(obj)
    return out.getvalue(), list(storages.values())


def write_zip(name, obj, protocol=2, byteorder="little", method=zipfile.ZIP_STORED):
    body, storages = dump(obj, protocol, False)
    with zipfile.ZipFile(name, "w", method) as z:
        def entry(path, data):
            info = zipfile.ZipInfo("archive/" + path)
            info.compress_type = method
            z.writestr(info, data)
        entry("data.pkl", body)
        entry("byteorder", byteorder)
        for key, s in storages:
            entry("data/" + key, s.data)
        entry("version", "3\n")


def write_legacy(name, obj, protocol=2, little=True):
    body, storages = dump(obj, protocol, True)
    with open(name, "wb") as f:
        for o in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": little, "type_sizes": {"int": 4}}):
            f.write(pickle.dumps(o, protocol))
        f.write(body)
        f.write(pickle.dumps([key for key, _ in storages], protocol))
        for _, s in storages:
            f.write(struct.pack("<q", s.numel) + s.data)


def state(prefix="", first=0.0):
    shared = Storage(FloatStorage, "f", [first + i for i in range(12)])
    return collections.OrderedDict([
        (prefix + "w", Tensor(shared, (3, 4), parameter=True)),
        (prefix + "w_t", Tensor(shared, (4, 3), (1, 4))),
        (prefix + "tail", Tensor(shared, (5,), offset=7)),
        (prefix + "steps", Tensor(Storage(LongStorage, "q", [-1234567890123]), ())),
    ])


class Attack:
    def __reduce__(self):
        return os.system, ("echo attacked",)


class Call:
    def __init__(self, *reduce):
        self.reduce = reduce

    def __reduce__(self):
        return self.reduce


def beside():
    """What trainers keep beside the weights, as torch and numpy pickle it."""
    dtype = Call(fake(numpy, "dtype"), ("f8", False, True), (3, "<", None, None, None, -1, -1, 0))
    counter, by_name = collections.Counter("aab"), collections.defaultdict(list)
    by_name["x"].append(1)
    return {"acc": Call(fake(multiarray, "scalar"), (dtype, struct.pack("<d", 0.99))), "seen": counter, "by_name": by_name,
            "size": Call(fake(torch, "Size"), ((1, 2),)), "device": Call(fake(torch, "device"), ("cpu",)), "dtype": fake(torch, "float32"),
            "set": {1, 2}, "frozen": frozenset("a"), "args": argparse.Namespace(lr=0.1, name="r50"), "note": b"bytes \xff"}


moments = {0: {"step": 7, "exp_avg": Tensor(Storage(FloatStorage, "f", [9.0]), (1,))}}
optimizer = {"state": moments, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}
for p in (2, 3, 4, 5):
    write_zip(f"protocol{p}.pth", state(), p)
    write_legacy(f"protocol{p}_legacy.pth", state(), p)
insightface = {"epoch": 3, "global_step": 2 ** 40, "state_dict_backbone": state(), "state_dict_softmax_fc": state(first=100.0),
               "state_optimizer": optimizer,
               "note": b"bytes \xff", "big": -(2 ** 70), "text": "é" * 300, "rate": 1e-3, "flags": (True, None, [1])}
write_zip("nested_insightface.pth", insightface, 4)
write_legacy("nested_net.pth", {"epoch": 68, "net_state_dict": state()})
write_zip("nested_deep.pth", {"best": Tensor(Storage(FloatStorage, "f", [0.5]), ()), "model": {"state_dict": state("module.")}})
write_zip("nested_only.pth", {"epoch": 1, "weights_of_mine": state()})
write_zip("wrapped.pth", state("module._orig_mod.module."))
write_zip("named_model.pth", {"model": {"name": "r50", "depth": 50}, "backbone": state()})
for p in (2, 4):
    write_zip(f"beside{p}.pth", {**beside(), "net": state()}, p)
    write_legacy(f"beside{p}_legacy.pth", {**beside(), "weights_of_mine": state()}, p)
write_zip("bad_ambiguous.pth", {"one": state(), "two": state()})
write_zip("bad_attack.pth", {"state_dict": Attack()})
write_zip("bad_big_endian.pth", state(), byteorder="big")
write_zip("bad_compressed.pth", state(), method=zipfile.ZIP_DEFLATED)
write_zip("bad_stride.pth", {"x": Tensor(Storage(FloatStorage, "f", [0.0] * 12), (3, 4), (5, 1))})
write_zip("bad_expanded.pth", {"x": Tensor(Storage(FloatStorage, "f", [0.0]), (1 << 20, 1 << 18), (0, 0))})
write_legacy("bad_big_endian_legacy.pth", state(), little=False)
