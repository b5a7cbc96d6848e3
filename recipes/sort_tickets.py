"""Sort your own texts: learn from tickets.csv, measure, and label new.csv.

tickets.csv has the columns text and label, new.csv the column text. sorted.csv
gets the new texts with a label and its probability, the least sure first.
"""

import pandas
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit
from sklearn.pipeline import make_pipeline

from finetuning.classification import embed
from finetuning.data import near_duplicate_groups
from finetuning.models import load_encoder
from finetuning.statistics import bootstrap_interval

encoder, tokenizer = load_encoder()


def read(name, texts):
    """What a method reads: texts, or MiniLM's vectors of them, (N, 384)."""
    if name == "counted words":
        return texts
    return embed(encoder, tokenizer, texts, max_length=256)


def tuned(*steps):
    """Steps and a linear classifier.

    Its C is the one of three that does best on thirds of the training tickets,
    each in turn, learnt from the other two.
    """
    model = make_pipeline(*steps, LogisticRegression(max_iter=5000))
    return GridSearchCV(model, {"logisticregression__C": [1, 10, 100]}, cv=3)


methods = {
    "counted words": tuned(TfidfVectorizer(sublinear_tf=True)),
    "frozen features": tuned(),
}

tickets = pandas.read_csv("tickets.csv").dropna(subset=["text", "label"])
labels = tickets["label"].to_numpy(str)
texts = tickets["text"].to_numpy(str)
known = {name: read(name, texts) for name in methods}

# A quarter of the groups is kept for the test; a group is one text, or several
# that share much of their wording.
groups = near_duplicate_groups(list(texts))
split = GroupShuffleSplit(n_splits=1, test_size=0.25, random_state=0)
train, test = next(split.split(labels, groups=groups))
commonest = pandas.Series(labels[train]).mode()[0]
print(f"always {commonest!r}: {(labels[test] == commonest).mean():.2f}")
shares = {}
for name, method in methods.items():
    method.fit(known[name][train], labels[train])
    right = method.predict(known[name][test]) == labels[test]
    shares[name], low, high = bootstrap_interval(right.astype(float))
    interval = f"[{low:.2f}, {high:.2f}]"
    print(f"{name:16s} {shares[name]:.2f} of {len(test)} right {interval}")

# The better one learns again, from all tickets, and sorts.
best = max(shares, key=shares.get)
method = methods[best].fit(known[best], labels)
new = pandas.read_csv("new.csv").dropna(subset=["text"])
unknown = read(best, new["text"].to_numpy(str))
probabilities = method.predict_proba(unknown)  # (N, K)
new["label"] = method.classes_[probabilities.argmax(axis=1)]
new["probability"] = probabilities.max(axis=1).round(3)
new.sort_values("probability").to_csv("sorted.csv", index=False)
print(f"sorted.csv: {len(new)} texts by {best}")
