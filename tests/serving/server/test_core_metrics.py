"""Prometheus metrics under the names of TensorFlow Serving."""

import re
import urllib.error
import urllib.request

import numpy as np
import pytest

from tests.support.serving.serving_cases import MODEL, classify_request, examples, refusal, serve

X = {"x": np.float32([2, 4])}


def metrics_of(target, path="/monitoring/prometheus/metrics"):
    with urllib.request.urlopen(f"http://{target.rest}{path}", timeout=20) as response:
        return response.read().decode()


def test_metrics_have_the_names_of_tensorflow_serving(tmp_path):
    file = tmp_path / "monitoring.txt"
    file.write_text('prometheus_config { enable: true path: "/metrics" }')
    with serve(monitoring_config_file=str(file)) as target:
        for _ in range(3):
            target.predict(X)
        target.predictions.Classify(classify_request(source=examples(1.0, 2.0, 3.0)), 20)
        refusal(target.predict, X, "none")
        refusal(lambda: target.predict(X, name="someone's"))
        text = metrics_of(target, "/metrics")
    count = ':tensorflow:serving:request_count{model_name="%s",status="%s"} %.1f\n'
    assert count % (MODEL, "OK", 4) in text
    assert count % (MODEL, "FAILED_PRECONDITION", 1) in text
    assert "# TYPE :tensorflow:serving:request_count counter\n" in text
    assert "someone" not in text  # or anybody could fill the memory with names
    labels = f'{{API="Predict",entrypoint="GRPC",model_name="{MODEL}"}}'
    assert f":tensorflow:serving:request_latency_count{labels} 3.0\n" in text
    asked = f':tensorflow:serving:request_example_counts_%s{{model="{MODEL}"}} %.1f\n'
    assert asked % ("count", 1) in text
    assert asked % ("sum", 3) in text
    assert 'le="+Inf"' in text
    assert f':tensorflow:cc:saved_model:load_attempt_count{{model_path="{MODEL}/3"' in text
    assert "_created" not in text
    latency = float(re.search(r":request_latency_sum\{.*\} (.*)\n", text)[1])
    assert 3 * 20 < latency < 3 * 20e6  # microseconds


@pytest.mark.parametrize("text", [None, "prometheus_config { enable: false }"])
def test_without_a_monitoring_config_there_are_no_metrics(tmp_path, text):
    options = {}
    if text is not None:
        (tmp_path / "monitoring.txt").write_text(text)
        options["monitoring_config_file"] = str(tmp_path / "monitoring.txt")
    with serve(**options) as target, pytest.raises(urllib.error.HTTPError, match="404"):
        metrics_of(target)
