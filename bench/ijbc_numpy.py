#!/usr/bin/env python3
"""IJB-C's 1:1 scores and rates with numpy and scikit-learn, in the way of the published evaluation: for comparison of time and memory.

    python3 bench/ijbc_numpy.py make DIR    # lists of IJB-C's size, every template one face; random features of people: subject + noise
    python3 bench/ijbc_numpy.py run DIR
    build/vitrine eval numpy ijbc --data DIR --embeddings DIR/features.npy --bootstrap 0
"""
import os
import resource
import sys
import time

import numpy as np

ENROLLED, TEMPLATES, SAME, DIFFERENT, DIM = 3531, 23124, 19557, 15638932, 512


def make(folder):
    os.makedirs(f"{folder}/meta", exist_ok=True)
    probes = TEMPLATES - ENROLLED
    subject = np.r_[np.arange(ENROLLED), np.arange(probes) % ENROLLED]
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((ENROLLED, DIM), np.float32)
    np.save(f"{folder}/features.npy", 0.5 * centres[subject] + rng.standard_normal((TEMPLATES, DIM), np.float32))
    points = "46.060 62.026 87.785 60.323 68.851 77.656 52.162 99.875 86.450 98.648"
    with open(f"{folder}/meta/ijbc_face_tid_mid.txt", "w") as ids, open(f"{folder}/meta/ijbc_name_5pts_score.txt", "w") as faces:
        for t in range(1, TEMPLATES + 1):
            ids.write(f"{t}.jpg {t} {t}\n")
            faces.write(f"{t}.jpg {points} 0.{500 + t % 500}\n")
    same = different = 0
    with open(f"{folder}/meta/ijbc_template_pair_label.txt", "w") as out:  # by the enrolled template, as the published list is
        for a in range(ENROLLED):
            mates = list(range(a, probes, ENROLLED))[: SAME - same]
            same += len(mates)
            wanted = DIFFERENT * (a + 1) // ENROLLED - different
            others = rng.permutation(probes)
            others = np.sort(others[others % ENROLLED != a][:wanted])
            different += wanted
            lines = [f"{a + 1} {ENROLLED + j + 1} 1\n" for j in mates] + [f"{a + 1} {ENROLLED + j + 1} 0\n" for j in others]
            out.write("".join(lines))


def run(folder):
    from sklearn.metrics import roc_curve

    start = last = time.process_time()

    def lap(what):
        nonlocal last
        now = time.process_time()
        print(f"{what:12s} {now - last:7.2f} s of processor time")
        last = now

    pairs = np.loadtxt(f"{folder}/meta/ijbc_template_pair_label.txt", dtype=np.int64)
    lap("pair file")
    weights = np.array([float(line.split()[-1]) for line in open(f"{folder}/meta/ijbc_name_5pts_score.txt")])
    unit = np.load(f"{folder}/features.npy").astype(np.float64) * weights[:, None]
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
    print(f"total        {last - start:7.2f} s, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")


{"make": make, "run": run}[sys.argv[1]](sys.argv[2])
