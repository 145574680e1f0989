"""What a server has done, as Prometheus reads it."""

from suffuse.serving.engine import Engine


def exposition(engine: Engine) -> str:
    """Counters and gauges in the text format of Prometheus, version 0.0.4."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest
    from prometheus_client.metrics_core import CounterMetricFamily

    registry, tally = CollectorRegistry(), engine.tally

    class Counters:
        def collect(self) -> list[CounterMetricFamily]:
            over = CounterMetricFamily("suffuse_jobs", "jobs that are over", labels=["state"])
            for state, count in tally.over.items():
                over.add_metric([state], count)
            plain = {
                "suffuse_refused": ("jobs that were refused", tally.refused),
                "suffuse_items": ("items that were drawn or read", tally.items),
                "suffuse_batches": ("batches of jobs that were done together", tally.batches),
                "suffuse_busy_seconds": ("seconds of work", tally.seconds),
            }
            return [over, *(CounterMetricFamily(name, text, value=value) for name, (text, value) in plain.items())]

    registry.register(Counters())
    Gauge("suffuse_waiting", "jobs that wait or run", registry=registry).set(engine.waiting)
    Gauge("suffuse_queue", "jobs that may wait or run", registry=registry).set(engine.limits.queue)
    return generate_latest(registry).decode()
