"""Writes small .bin files of four PNGs and two pairs in nine encodings, among them two that the golden files lack (an array from
_frombuffer, an array of flags) and numpy 2's names of modules. numpy needed. Run in this folder: python3 make_bin.py"""
import pickle, re, struct
import numpy as np

images = [open(f"{name}.png", "rb").read() for name in ("gray8", "rgb8", "gray1", "rgba8")]
same = [True, False]
arrays, columns = ([np.frombuffer(i, np.uint8).reshape(shape).copy() for i in images] for shape in (-1, (-1, 1)))


def numpy1(pickled):  # the names before numpy 2; the length of the one frame follows
    pickled = pickled.replace(b"cnumpy._core.", b"cnumpy.core.")
    pickled = re.sub(rb"\x8c(.)numpy\._core\.", lambda m: b"\x8c" + bytes([m[1][0] - 1]) + b"numpy.core.", pickled)
    if pickled[2:3] == b"\x95":
        pickled = pickled[:3] + struct.pack("<Q", len(pickled) - 11) + pickled[11:]
    return pickled


def python2(images, same):  # Python 2's str: SHORT_BINSTRING or BINSTRING
    def string(b):
        return b"U" + bytes([len(b)]) + b if len(b) < 256 else b"T" + struct.pack("<i", len(b)) + b
    flags = b"".join(b"\x88" if s else b"\x89" for s in same)
    return b"\x80\x02](" + b"".join(map(string, images)) + b"e](" + flags + b"e\x86."


files = {
    "py2str": python2(images, same),
    "py3_protocol2": pickle.dumps((images, same), 2),
    "py3_protocol3": pickle.dumps((images, same), 3),
    "py3_protocol5": pickle.dumps((images, same), 5),
    "columns_protocol3": numpy1(pickle.dumps((columns, same), 3)),
    "arrays_protocol5": numpy1(pickle.dumps((arrays, same), 5)),
    "flag_scalars": numpy1(pickle.dumps((images, list(np.array(same))), 4)),
    "flag_array": numpy1(pickle.dumps((images, np.array(same)), 4)),
    "numpy2_protocol2": pickle.dumps((columns, np.array(same)), 2),
}
for name, pickled in files.items():
    open(f"bin/small_{name}.bin", "wb").write(pickled)
