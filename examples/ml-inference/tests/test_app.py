"""Run by the build, with the model that it has trained: python -m unittest discover tests"""

import unittest

from app import app

SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
VIRGINICA = {"sepal_length": 6.7, "sepal_width": 3.0, "petal_length": 5.6, "petal_width": 2.3}


class Predict(unittest.TestCase):
    def setUp(self):
        self.client = app.test_client()

    def test_names_the_flowers(self):
        answer = self.client.post("/predict", json={"instances": [SETOSA, VIRGINICA]})
        self.assertEqual(answer.status_code, 200)
        classes = [prediction["class"] for prediction in answer.json["predictions"]]
        self.assertEqual(classes, ["setosa", "virginica"])

    def test_says_what_is_wrong(self):
        refused = [
            ({}, '"instances"'),
            ({"instances": []}, '"instances"'),
            ({"instances": [7]}, "instances[0]"),
            ({"instances": [SETOSA, {**SETOSA, "petal_width": "wide"}]}, "instances[1].petal_width"),
            ({"instances": [{**SETOSA, "petal_width": True}]}, "instances[0].petal_width"),
            ({"instances": [{**SETOSA, "petal_width": -1}]}, "instances[0].petal_width"),
            ({"instances": [{**SETOSA, "colour": 1}]}, "'colour'"),
            ({"instances": [{"sepal_length": 5.1}]}, "no sepal_width"),
        ]
        for body, text in refused:
            answer = self.client.post("/predict", json=body)
            self.assertEqual(answer.status_code, 400, body)
            self.assertIn(text, answer.json["error"])

    def test_takes_json_alone(self):
        self.assertEqual(self.client.post("/predict", data="x").status_code, 415)
        self.assertEqual(self.client.post("/predict", data="{", content_type="application/json").status_code, 400)
        self.assertEqual(self.client.get("/predict").status_code, 405)

    def test_is_well(self):
        self.assertEqual(self.client.get("/health").json["status"], "ok")


if __name__ == "__main__":
    unittest.main()
