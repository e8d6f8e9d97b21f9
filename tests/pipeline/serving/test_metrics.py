"""The metrics of a server in Prometheus's format."""

from __future__ import annotations

from pipeline.serving.metrics import ServingMetrics


def samples(metrics: ServingMetrics) -> dict[str, str]:
    """Name and labels -> value, as Prometheus reads them."""
    lines = [line for line in metrics.text().decode().splitlines() if not line.startswith("#")]
    return dict(line.rsplit(" ", 1) for line in lines)


def test_the_names_of_the_metrics_stay() -> None:
    metrics = ServingMetrics()
    metrics.requests.labels("/derain", "200").inc()
    metrics.served("rain", "1")
    names = {
        name.partition("{")[0] for name in samples(metrics) if not name.partition("{")[0].endswith(("_created", "_bucket"))
    }
    assert names == {
        "rdmc_requests_total",
        *(
            f"rdmc_{name}_{part}"
            for name in ("request_seconds", "network_seconds", "batch_pictures")
            for part in ("sum", "count")
        ),
        *("rdmc_pixels_total", "rdmc_requests_waiting", "rdmc_replicas", "rdmc_registry_up", "rdmc_model_info"),
    }


def test_every_metric_has_a_help_text() -> None:
    lines = ServingMetrics().text().decode().splitlines()
    helps = [line.split(" ", 3) for line in lines if line.startswith("# HELP ")]
    assert len(helps) >= 9
    assert all(len(parts) == 4 and parts[3].endswith(".") for parts in helps if not parts[2].endswith("_created"))


def test_only_the_last_model_is_reported() -> None:
    metrics = ServingMetrics()
    metrics.served("rain", "1")
    metrics.served("rain", "2")
    models = {name: value for name, value in samples(metrics).items() if name.startswith("rdmc_model_info")}
    assert models == {'rdmc_model_info{model="rain",version="2"}': "1.0"}


def test_two_servers_in_one_process_count_apart() -> None:
    one, other = ServingMetrics(), ServingMetrics()
    one.pixels.inc(100)
    assert samples(one)["rdmc_pixels_total"] == "100.0"
    assert samples(other)["rdmc_pixels_total"] == "0.0"
