# Dense algebra on two threads, sorting, FFT, an array mapped from a file.
# packages: python3-numpy
# excache: 38M
import hashlib, sys
sys.path.pop(0)  # this file's own directory: it would be taken for the module
import numpy as np


def digest(a):
    return hashlib.sha256(a.tobytes()).hexdigest()[:16]


r = np.random.default_rng(7)
a = r.standard_normal((700, 700))
b = a @ a.T
print("product", digest(np.round(b, 6)))
w = np.linalg.eigvalsh(b)
print("eigenvalues %.6f %.6f" % (w[0], w[-1]))
x = r.integers(0, 1 << 40, 1_500_000)
x.sort()
print("sorted", digest(x), np.unique(x).size)
print("fft %.2f" % np.abs(np.fft.rfft(r.standard_normal(1 << 19))).sum())
np.save("x.npy", x)
m = np.load("x.npy", mmap_mode="r")
print("mapped", int(m[::1000].sum()))
