"""Sort your own texts: learn from tickets.csv, measure, and label new.csv.

tickets.csv has the columns text and label, new.csv the column text. sorted.csv
gets the new texts with a label, its probability and whether a person should look,
the least sure first.
"""

import numpy
import pandas
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from finetuning.classification import embed
from finetuning.data import near_duplicate_groups
from finetuning.models import load_encoder
from finetuning.statistics import bootstrap_interval

WANTED = 0.95  # the share right that you want where no person looks
METHODS = ("counted words", "frozen features")
# Settings of the classifier, from stiff to free.
GRID = (1, 10, 100, 1_000, 10_000, 100_000)

encoder, tokenizer = load_encoder()


def read(name, texts):
    """What a method reads: texts, or MiniLM's vectors of them, (N, 384)."""
    if name == "counted words":
        return texts
    return embed(encoder, tokenizer, texts, max_length=256)


def classifier(name, C):
    """A linear classifier to which rare labels count as much as common ones."""
    regression = LogisticRegression(C=C, class_weight="balanced", max_iter=5000)
    if name == "counted words":
        return make_pipeline(TfidfVectorizer(sublinear_tf=True), regression)
    return regression


tickets = pandas.read_csv("tickets.csv").dropna(subset=["text", "label"])
labels = tickets["label"].to_numpy(str)
texts = tickets["text"].to_numpy(str)

# A quarter of each label is held back for the test. A group is one text, or
# several that share much of their wording; it stays on one side.
groups = pandas.Series(near_duplicate_groups(list(texts)))
of_label = groups.groupby(labels).nunique()
if len(of_label) < 2 or of_label.min() < 4:
    raise SystemExit(
        "tickets.csv needs two labels or more and four different tickets of "
        f"each, and has {of_label.to_dict()}. Tickets that share wording count as "
        "one: cut signatures and templates, then try again."
    )
quarters = StratifiedGroupKFold(n_splits=4, shuffle=True, random_state=0)
train, test = next(quarters.split(texts, labels, groups))

commonest = pandas.Series(labels[train]).mode()[0]
print(f"always {commonest!r}: {(labels[test] == commonest).mean():.2f}")

# All is chosen on the other three quarters: each third of them, groups whole, gets
# its probabilities from a classifier that learnt from the other two.
thirds = StratifiedGroupKFold(n_splits=3, shuffle=True, random_state=0)
folds = list(thirds.split(texts[train], labels[train], groups[train]))
names = numpy.unique(labels[train])  # (K,)


def guesses(name, C):
    """Probabilities of the training tickets, (N, K)."""
    return cross_val_predict(
        classifier(name, C),
        known[name][train],
        labels[train],
        cv=folds,
        method="predict_proba",
    )


known = {name: read(name, texts) for name in METHODS}
chosen = {}
right = {}
sure = {}
for name in METHODS:
    tried = {C: guesses(name, C) for C in GRID}
    C = min(GRID, key=lambda C: log_loss(labels[train], tried[C]))
    chosen[name] = C
    right[name] = names[tried[C].argmax(axis=1)] == labels[train]
    sure[name] = tried[C].max(axis=1)
    edge = ", an end of its grid" if C in (GRID[0], GRID[-1]) else ""
    print(f"{name:16s} {right[name].mean():.2f} of {len(train)} right, C = {C}{edge}")
best = max(METHODS, key=lambda name: right[name].mean())

# The lowest threshold above which the share right is as wanted.
order = numpy.argsort(-sure[best])
share = right[best][order].cumsum() / numpy.arange(1, len(train) + 1)
enough = numpy.flatnonzero(share >= WANTED)
threshold = sure[best][order[enough[-1]]] if len(enough) else 1.0

# The tickets that were held back choose nothing: they say how good it is.
model = classifier(best, chosen[best]).fit(known[best][train], labels[train])
probabilities = model.predict_proba(known[best][test])
said = model.classes_[probabilities.argmax(axis=1)]
hits = said == labels[test]
_, low, high = bootstrap_interval(hits.astype(float))
print(f"{best}, on {len(test)} tickets that were held back:")
print(f"  {hits.mean():.2f} right [{low:.2f}, {high:.2f}]")
for label in of_label.index:
    there = said == label
    its = labels[test] == label
    print(
        f"  {label!r}: {hits[its].sum()} of {its.sum()} found; of {there.sum()} "
        f"put there {hits[there].sum()} right"
    )
kept = probabilities.max(axis=1) >= threshold
print(
    f"  probability {threshold:.2f} or more: {kept.sum()} kept, "
    f"{hits[kept].sum()} of them right"
)

# It learns again, from all tickets, and sorts.
model.fit(known[best], labels)
new = pandas.read_csv("new.csv").dropna(subset=["text"])
probabilities = model.predict_proba(read(best, new["text"].to_numpy(str)))
new["label"] = model.classes_[probabilities.argmax(axis=1)]
new["person"] = probabilities.max(axis=1) < threshold
new["probability"] = probabilities.max(axis=1).round(3)
new.sort_values("probability").to_csv("sorted.csv", index=False)
print(f"sorted.csv: {len(new)} texts by {best}, {new['person'].sum()} for a person")
