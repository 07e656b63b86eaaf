"""The sentence that says whether a network was worth it, and what belongs to it and what to its baselines."""

import pytest

from stages.common.comparison import baselines, own_metrics, verdict
from stages.tasks import multiclass, regression


def losses(network, **others):
    return {"accuracy": 0.9, "log_loss": network} | {f"baseline_{name}_log_loss": value for name, value in others.items()}


@pytest.mark.parametrize(
    ("metrics", "task", "expected"),
    [
        (
            losses(0.239, majority=0.69, linear=0.25, boosting=0.231),
            multiclass,
            "Gradient boosting is better: log-loss 0.231 against 0.239.",
        ),
        (
            losses(0.209, majority=0.69, linear=0.25, boosting=0.231),
            multiclass,
            "The network is better than gradient boosting, the best baseline: log-loss 0.209 against 0.231.",
        ),
        (losses(0.7, majority=0.69), multiclass, "The largest class is better: log-loss 0.69 against 0.7."),
        (
            losses(0.03, majority=2.30),
            multiclass,
            "The network is better than the largest class, the only baseline: log-loss 0.03 against 2.3.",
        ),
        (losses(0.23104, linear=0.23101), multiclass, "The linear model is better: log-loss 0.23101 against 0.23104."),
        (losses(0.25, linear=0.25), multiclass, "The linear model is as good as the network: log-loss 0.25 in both."),
        (
            {"rmse": 47461.0, "baseline_mean_rmse": 115000.0, "baseline_boosting_rmse": 47413.0},
            regression,
            "Gradient boosting is better: RMSE 47,413 against 47,461.",
        ),
        (losses(0.239), multiclass, ""),
    ],
)
def test_the_best_baseline_is_named_with_the_main_figure_of_both(metrics, task, expected):
    assert verdict(metrics, task) == expected


@pytest.mark.parametrize(("low", "expected"), [(0.22, " The 95 % intervals overlap."), (0.235, "")])
def test_it_is_said_that_intervals_overlap(low, expected):
    ends = {"log_loss_low": low, "log_loss_high": 0.25, "baseline_boosting_log_loss_low": 0.21, "baseline_boosting_log_loss_high": 0.23}
    assert (
        verdict(losses(0.239, boosting=0.231) | ends, multiclass) == f"Gradient boosting is better: log-loss 0.231 against 0.239.{expected}"
    )


TOO_GOOD = " Nearly perfect: look for a column that tells the answer (docs/audit.md)."


@pytest.mark.parametrize(
    ("figures", "is_said"),
    [
        ({"linear_auc": 0.991}, True),
        ({"boosting_accuracy": 0.996, "majority_accuracy": 0.4}, True),
        ({"boosting_r2": 0.9995}, True),
        ({"boosting_auc": 0.98, "boosting_accuracy": 0.996, "majority_accuracy": 0.4}, False),  # of two classes the AUC says it
        ({"boosting_accuracy": 0.996, "majority_accuracy": 0.993}, False),
        ({"boosting_r2": 0.99}, False),
    ],
)
def test_a_baseline_that_is_nearly_perfect_asks_for_a_look_at_the_columns(figures, is_said):
    task = regression if "boosting_r2" in figures else multiclass
    metrics = {task.COMPARED[0]: 0.1, f"baseline_boosting_{task.COMPARED[0]}": 0.2} | {
        f"baseline_{name}": figures[name] for name in figures
    }
    assert verdict(metrics, task).endswith(f".{TOO_GOOD}") is is_said


def test_metrics_of_the_model_and_of_its_baselines_are_told_apart():
    metrics = losses(0.2, majority=0.69, boosting=0.3)
    assert own_metrics(metrics) == {"accuracy": 0.9, "log_loss": 0.2}
    assert baselines(metrics) == {"majority": {"log_loss": 0.69}, "boosting": {"log_loss": 0.3}}
