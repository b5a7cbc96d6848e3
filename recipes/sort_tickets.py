"""Sort your own texts: learn from tickets.csv, measure, and label new.csv.

tickets.csv has the columns text and label, new.csv the column text. sorted.csv
gets the new texts with a label and its probability, the least sure first.
"""

import pandas
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
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

# A quarter of each label is kept for the test. A group is one text, or several
# that share much of their wording; it stays on one side.
groups = pandas.Series(near_duplicate_groups(list(texts)))
of_label = groups.groupby(labels).nunique()
if len(of_label) < 2 or of_label.min() < 4:
    raise SystemExit(
        "tickets.csv needs two labels or more and four different tickets of "
        f"each, and has {of_label.to_dict()}. Tickets that share wording count as "
        "one: cut signatures and templates, then try again."
    )
split = StratifiedGroupKFold(n_splits=4, shuffle=True, random_state=0)
train, test = next(split.split(texts, labels, groups))

known = {name: read(name, texts) for name in methods}
commonest = pandas.Series(labels[train]).mode()[0]
print(f"always {commonest!r}: {(labels[test] == commonest).mean():.2f}")
right = {}
for name, method in methods.items():
    method.fit(known[name][train], labels[train])
    right[name] = method.predict(known[name][test]) == labels[test]
    share, low, high = bootstrap_interval(right[name].astype(float))
    interval = f"[{low:.2f}, {high:.2f}]"
    print(f"{name:16s} {share:.2f} of {len(test)} right {interval}")

# The better one: what it finds of each label, and what a threshold buys.
best = max(right, key=lambda name: right[name].mean())
method = methods[best]
sure = method.predict_proba(known[best][test]).max(axis=1)  # (N,)
print(f"{best}, on the same {len(test)} tickets:")
for label in of_label.index:
    found = right[best][labels[test] == label]
    print(f"  of {label!r}: {found.sum()} of {len(found)} found")
for threshold in (0.5, 0.7, 0.9):
    kept = right[best][sure >= threshold]
    share = f"{kept.mean():.2f} of them right" if len(kept) else "none to judge"
    print(f"  probability {threshold} or more: {len(kept)} kept, {share}")

# It learns again, from all tickets, and sorts.
method.fit(known[best], labels)
new = pandas.read_csv("new.csv").dropna(subset=["text"])
unknown = read(best, new["text"].to_numpy(str))
probabilities = method.predict_proba(unknown)  # (N, K)
new["label"] = method.classes_[probabilities.argmax(axis=1)]
new["probability"] = probabilities.max(axis=1).round(3)
new.sort_values("probability").to_csv("sorted.csv", index=False)
print(f"sorted.csv: {len(new)} texts by {best}")
