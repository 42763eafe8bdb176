# A forest built by two threads, clustering, a linear model.
# packages: python3-sklearn
# excache: 60M
import sys
sys.path.pop(0)
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

x, y = make_classification(6000, 40, n_informative=12, random_state=3)
f = RandomForestClassifier(20, random_state=1, n_jobs=2).fit(x[:4000], y[:4000])
print("forest %.4f" % f.score(x[4000:], y[4000:]))
k = KMeans(5, n_init=2, random_state=1).fit(x)
print("clusters", sorted(np.bincount(k.labels_)))
print("logistic %.3f" % LogisticRegression(max_iter=300).fit(x, y).score(x, y))
