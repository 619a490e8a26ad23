#!/usr/bin/env python3
"""IJB-C's 1:1 scores and rates with numpy and scikit-learn, in the way of the published evaluation: for comparison of time and memory.

    build/vitrine render ijbc-size --out DIR; python3 bench/ijbc_numpy.py DIR
"""
import resource
import sys
import time

import numpy as np
from sklearn.metrics import roc_curve

start = last = time.time()


def lap(what):
    global last
    now = time.time()
    print(f"{what:12s} {now - last:7.2f} s")
    last = now


pairs = np.loadtxt(f"{sys.argv[1]}/meta/ijbc_template_pair_label.txt", dtype=np.int64)
lap("pair file")
features = np.load(f"{sys.argv[1]}/features.npy").astype(np.float64)
weights = np.array([float(line.split()[-1]) for line in open(f"{sys.argv[1]}/meta/ijbc_name_5pts_score.txt")])
unit = features * weights[:, None]
unit /= np.linalg.norm(unit, axis=1, keepdims=True)
lap("templates")
scores = np.empty(len(pairs))
for i in range(0, len(pairs), 100_000):
    a, b = unit[pairs[i : i + 100_000, 0] - 1], unit[pairs[i : i + 100_000, 1] - 1]
    scores[i : i + 100_000] = np.sum(a * b, axis=1)
lap("pairs")
fpr, tpr, _ = roc_curve(pairs[:, 2], scores)
fpr, tpr = fpr[::-1], tpr[::-1]
for target in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1):
    print(f"TPR at {target:.0e}: {100 * tpr[np.argmin(np.abs(fpr - target))]:.4f} %")
lap("rates")
print(f"total        {time.time() - start:7.2f} s, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")
