"""The losses against their definition, and against PyTorch's."""

import numpy as np
import pytest

from training.optim import losses

CLASSES = 5


@pytest.fixture
def logits():
    """Of the class head, the distillation head and the teacher: (3, 6, classes)."""
    return np.random.default_rng(0).normal(0, 2, (3, 6, CLASSES)).astype(np.float32)


@pytest.fixture
def targets():
    return np.random.default_rng(1).dirichlet(np.ones(CLASSES), 6).astype(np.float32)


def test_cross_entropy_takes_probabilities_as_targets(logits, targets):
    head = logits[0].astype(np.float64)
    log_probabilities = head - np.log(np.exp(head).sum(1, keepdims=True))
    expected = -(targets * log_probabilities).sum(1)
    np.testing.assert_allclose(losses.cross_entropy(targets, logits[0]), expected, rtol=1e-5)


def test_hard_distillation_learns_the_decision_of_the_teacher(logits):
    decision = np.eye(CLASSES, dtype=np.float32)[logits[2].argmax(1)]
    np.testing.assert_allclose(
        losses.hard_distillation(logits[2], logits[1]),
        losses.cross_entropy(decision, logits[1]),
        rtol=1e-6,
    )


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_soft_distillation_is_the_divergence_that_pytorch_computes(logits, tau):
    import torch
    from torch.nn import functional as F  # noqa: N812, everybody's name for it

    found, teacher = (torch.from_numpy(x) for x in logits[1:])
    divergence = F.kl_div(
        F.log_softmax(found / tau, dim=1),
        F.log_softmax(teacher / tau, dim=1),
        reduction="sum",
        log_target=True,
    )
    expected = float(divergence * tau**2 / found.numel())
    mean = np.mean(losses.soft_distillation(logits[2], logits[1], tau))
    assert mean == pytest.approx(expected, rel=1e-5)
    undivided = losses.soft_distillation(logits[2], logits[1], tau, is_mean_of_classes=False)
    assert np.mean(undivided) == pytest.approx(expected * found.shape[1], rel=1e-5)


def test_no_gradient_of_soft_distillation_is_left_where_both_agree(logits):
    np.testing.assert_allclose(losses.soft_distillation(logits[1], logits[1], 2.0), 0, atol=1e-6)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_alpha_weighs_the_teacher_against_the_labels(logits, targets, kind):
    head, head_dist, teacher = logits
    loss = losses.Distillation(kind, alpha=0.3, tau=2.0)
    found = loss(targets, {"head": head, "head_dist": head_dist}, teacher)
    base = losses.cross_entropy(targets, head)
    if kind == "hard":
        taught = losses.hard_distillation(teacher, head_dist)
    else:
        taught = losses.soft_distillation(teacher, head_dist, 2.0)
    np.testing.assert_allclose(found, 0.7 * base + 0.3 * taught, rtol=1e-6)


def test_without_a_teacher_one_head_learns_the_labels(logits, targets):
    loss = losses.Distillation("none")
    np.testing.assert_allclose(
        loss(targets, logits[0]), losses.cross_entropy(targets, logits[0]), rtol=1e-6
    )
