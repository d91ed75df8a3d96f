"""Trains the model in a stage of the build: irises by the measures of their flowers.

    python train.py FILE
"""

import sys

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LEAST_ACCURACY = 0.9


def main(path):
    irises = load_iris()
    train, test, train_classes, test_classes = train_test_split(
        irises.data, irises.target, test_size=0.3, random_state=7, stratify=irises.target
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(train, train_classes)
    accuracy = model.score(test, test_classes)
    print(f"accuracy on {len(test)} flowers it has not seen: {accuracy:.3f}")
    if accuracy < LEAST_ACCURACY:
        sys.exit(f"less than {LEAST_ACCURACY}: no image of this model")
    joblib.dump(
        {
            "model": model,
            "features": [name.removesuffix(" (cm)").replace(" ", "_") for name in irises.feature_names],
            "classes": [str(name) for name in irises.target_names],
            "accuracy": accuracy,
        },
        path,
    )


if __name__ == "__main__":
    main(sys.argv[1])
