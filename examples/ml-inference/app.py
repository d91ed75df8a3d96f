"""A model behind HTTP: POST /predict with the measures of flowers, GET /health.

    {"instances": [{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}]}
"""

import math
import os

import joblib
from flask import Flask, jsonify, request
from werkzeug.exceptions import BadRequest, HTTPException

MOST_INSTANCES = 1000

trained = joblib.load(os.environ.get("MODEL", "model.joblib"))
features = trained["features"]
app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 1 << 20


@app.get("/health")
def health():
    return jsonify(status="ok", accuracy=round(trained["accuracy"], 3))


@app.post("/predict")
def predict():
    rows = measures(request.get_json())
    chances = trained["model"].predict_proba(rows)
    return jsonify(
        predictions=[
            {"class": trained["classes"][row.argmax()], "probability": round(float(row.max()), 4)}
            for row in chances
        ]
    )


def measures(body):
    """The numbers of a request, row by row.

    Raises BadRequest, which names what is wrong and where.
    """
    instances = body.get("instances") if isinstance(body, dict) else None
    if not isinstance(instances, list) or not instances:
        raise BadRequest('"instances" has to be a list that is not empty')
    if len(instances) > MOST_INSTANCES:
        raise BadRequest(f'"instances" has {len(instances)} entries, at most {MOST_INSTANCES} are allowed')
    return [[measure(instance, n, name) for name in features] for n, instance in enumerate(instances)]


def measure(instance, n, name):
    where = f"instances[{n}]"
    if not isinstance(instance, dict):
        raise BadRequest(f"{where} has to be an object with {', '.join(features)}")
    unknown = sorted(set(instance) - set(features))
    if unknown:
        raise BadRequest(f"{where} has {unknown[0]!r}, which is none of {', '.join(features)}")
    if name not in instance:
        raise BadRequest(f"{where} has no {name}")
    value = instance[name]
    # bool is a kind of int in Python.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadRequest(f"{where}.{name} has to be a number")
    if not 0 < value < 100:
        raise BadRequest(f"{where}.{name} has to be between 0 and 100 cm")
    return float(value)


@app.errorhandler(HTTPException)
def refused(error):
    return jsonify(error=error.description), error.code
