# A sparse solver, an optimiser, a quadrature.
# packages: python3-scipy
# excache: 40M
import sys
sys.path.pop(0)
import numpy as np, scipy.sparse as sp, scipy.sparse.linalg as la, scipy.optimize as op, scipy.integrate as it

n = 60000
a = sp.diags([-np.ones(n - 1), 4 * np.ones(n), -np.ones(n - 1)], [-1, 0, 1], format="csc")
x = la.spsolve(a, np.arange(n, dtype=float))
print("solved %.5f" % x.sum(), np.allclose(a @ x, np.arange(n)))
print("minimum", np.round(op.minimize(op.rosen, np.zeros(8), method="BFGS").x, 3))
print("integral %.9f" % it.quad(lambda t: np.exp(-t * t), -3, 3)[0])
