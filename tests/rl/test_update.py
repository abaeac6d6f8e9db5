"""A sampling's groups made into updates: any split of them into micro-batches is the same update."""

import dataclasses

import pytest
import torch

from groups import group
from shoestring.errors import BadInput
from shoestring.rl.batch import make_batches
from shoestring.rl.loss import PolicyLoss
from shoestring.rl.loss_settings import NAMED, PolicyLossSettings
from shoestring.rl.reference import Reference, logprobs_of
from shoestring.rl.rollout import Group
from shoestring.rl.settings import GRPOSettings
from shoestring.rl.update import share_out, update_policy
from shoestring.settings import build
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner
from shoestring.train.loss import sft_loss
from shoestring.train.optim import OptimSettings
from shoestring.train.state import load_state, save_state
from tiny import tiny_lm

OPTIM = OptimSettings(learning_rate=1e-3, warmup_steps=0)
WORLDS = [(1, 2), (1, 7), (2, 3), (3, 1), (5, 4), (7, 2)]  # groups, samples of each


def groups_of(count: int, samples: int) -> list[Group]:
    """Lengths and rewards of all sorts."""
    return [
        group(
            [float((3 * g + 2 * s) % 4) / 3 for s in range(samples)],
            [1 + (5 * g + 3 * s) % 9 for s in range(samples)],
            f"p{g}",
        )
        for g in range(count)
    ]


def settings_of(**changed) -> GRPOSettings:
    values = {"model": "m", "suites": ["sums"], "steps": 3, "max_completion_tokens": 10}
    return build(GRPOSettings, values | changed, "grpo")


def near(lm, batch: MicroBatch) -> MicroBatch:
    """Sampled by a model not far off: by an amount that depends on the token alone."""
    shift = 0.4 * torch.sin(7.0 * torch.from_numpy(batch.packed.targets))
    own = logprobs_of(lm.network, batch, 1.0)
    return dataclasses.replace(
        batch, sampler_logprobs=own + shift.float(), reference_logprobs=own - shift.float()
    )


def gradient(
    settings: PolicyLossSettings, groups: list[Group], micro_batch_tokens: int
) -> tuple[float, list]:
    lm = tiny_lm()
    learner = Learner(lm, OPTIM, 10)
    total = 0.0
    for batch in make_batches(groups, settings, 10, micro_batch_tokens):
        loss, _ = learner.forward(near(lm, batch), PolicyLoss(settings))
        loss.backward()
        total += loss.item()
    return total, learner.optimizer.grads


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", NAMED)
def test_any_split_is_the_same_gradient(name, world):
    changed = {"correction": "sequence_tis"} if name == "dapo" else {}
    settings = PolicyLossSettings.model_validate({"name": name, **changed})
    groups = groups_of(*world)
    whole, wanted = gradient(settings, groups, 100_000)
    for tokens in (1, 30):
        total, found = gradient(settings, groups, tokens)
        assert total == pytest.approx(whole, abs=1e-5)
        for a, b in zip(found, wanted, strict=True):
            assert torch.allclose(a, b, atol=1e-5, rtol=1e-3)
    moved = max(g.abs().max().item() for g in wanted)
    assert moved > 1e-3 or (world[1] == 1 and name != "grpo")  # the penalty pulls without an advantage too


@pytest.mark.parametrize("name", [n for n in NAMED if n != "grpo"])
def test_equal_rewards_have_no_gradient(name):
    settings = PolicyLossSettings.model_validate({"name": name})
    _, grads = gradient(settings, [group([0.1 + 0.2, 0.3, 0.3], [2, 5, 1])], 1000)
    assert all(g.abs().max() < 1e-12 for g in grads)


def test_sequences_stay_whole_in_their_micro_batches():
    batches = make_batches(groups_of(5, 4), PolicyLossSettings(name="gspo"), 10, 1)
    assert len(batches) == 20
    assert all(set(b.packed.owners) == {0} for b in batches)


def test_groups_are_shared_out_evenly():
    groups = groups_of(7, 2)
    parts = share_out(groups, 3)
    assert [[g.rollouts[0].sequence.row_id[:2] for g in part] for part in parts] == [
        ["p0", "p3", "p6"],
        ["p1", "p4"],
        ["p2", "p5"],
    ]
    assert share_out(groups, 1) == [groups]
    assert [len(p) for p in share_out(groups[:2], 4)] == [1, 1]  # no update without a group


def test_later_mini_batches_are_held_against_the_model_before_the_first():
    lm = tiny_lm()
    learner = Learner(lm, OPTIM, 10)
    groups = groups_of(4, 3)
    before = logprobs_of(
        lm.network, make_batches([groups[1], groups[3]], PolicyLossSettings(), 10, 4096)[0], 1.0
    )
    updated = update_policy(learner, None, groups, settings_of(minibatches=2, prompts_per_step=4))
    assert (learner.step, len(updated.metrics), len(updated.batches)) == (2, 2, 2)
    first, second = updated.batches
    assert first.old_logprobs is not None
    assert second.old_logprobs is not None
    assert torch.allclose(first.old_logprobs, updated.metrics[0].logprobs[0], atol=1e-6)
    assert torch.equal(second.old_logprobs, before)
    assert not torch.allclose(second.old_logprobs, updated.metrics[1].logprobs[0], atol=1e-4)
    assert updated.stats.ratio_min < 1 < updated.stats.ratio_max
    alone = update_policy(learner, None, groups, settings_of())
    assert (alone.further_passes, updated.further_passes) == (0, 1)
    assert all(b.old_logprobs is None for b in alone.batches)


@pytest.mark.parametrize("name", NAMED)
def test_a_rate_of_nothing_leaves_the_model_as_it_is(tmp_path, name):
    lm = tiny_lm()
    lm.save(tmp_path / "m")
    learner = Learner(lm, OptimSettings(learning_rate=1e-30, warmup_steps=0), 10)
    settings = settings_of(loss={"name": name}, minibatches=2)
    reference = Reference(str(tmp_path / "m"), lm, 1.0) if settings.loss.kl_coefficient else None
    updated = update_policy(learner, reference, groups_of(4, 3), settings)
    own_logprobs = [logprobs for m in updated.metrics for logprobs in m.logprobs]
    for own, batch in zip(own_logprobs, updated.batches, strict=True):
        assert batch.old_logprobs is not None
        assert torch.equal(logprobs_of(lm.network, batch, 1.0), batch.old_logprobs)
        assert torch.allclose(own, batch.old_logprobs, atol=1e-6)
    assert updated.stats.ratio_max == pytest.approx(1, abs=1e-5)
    assert updated.stats.kl < 1e-8


def test_a_refreshed_reference_is_the_model_and_is_kept(tmp_path):
    lm = tiny_lm()
    lm.save(tmp_path / "m")
    learner = Learner(lm, OPTIM, 10)
    (batch,) = make_batches(groups_of(2, 3), PolicyLossSettings(), 10, 4096)
    reference, other = (Reference(str(tmp_path / "m"), lm, 0.7) for _ in range(2))
    (tmp_path / "a").mkdir()
    save_state(tmp_path / "a", learner.state_dict(), {"reference": reference})
    assert not (tmp_path / "a/parts.safetensors").exists()  # the stage's first model is on disk already
    learner.update([batch], PolicyLoss(PolicyLossSettings()))
    stale = reference.annotate(batch).reference_logprobs
    reference.refresh(lm.network)
    fresh = reference.annotate(batch).reference_logprobs
    assert fresh is not None
    assert stale is not None
    assert torch.equal(fresh, logprobs_of(lm.network, batch, 0.7))
    assert not torch.allclose(fresh, stale, atol=1e-4)
    (tmp_path / "b").mkdir()
    save_state(tmp_path / "b", learner.state_dict(), {"reference": reference})
    learner.update([batch], PolicyLoss(PolicyLossSettings()))  # it doesn't follow the model
    assert torch.equal(reference.annotate(batch).reference_logprobs, fresh)
    load_state(tmp_path / "b", {"reference": other})
    assert torch.equal(other.annotate(batch).reference_logprobs, fresh)
    assert other.refreshed == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"minibatches": 5, "prompts_per_step": 4}, "each mini-batch needs a group"),
        ({"minibatches": 0}, "greater than or equal to 1"),
        ({"reference_refresh_steps": 2}, "there is no reference"),
        ({"loss": {"name": "gppo"}}, "'grpo', 'dr-grpo', 'dapo'"),
    ],
)
def test_settings_that_dont_fit_are_one_line(changed, said):
    with pytest.raises(BadInput, match=said):
        settings_of(**changed)


def test_a_token_may_have_an_advantage_of_its_own():
    """`annotate` sees every micro-batch once p_old is recorded, and what it makes is what is learnt from."""
    seen: list[MicroBatch] = []

    def flat(batch: MicroBatch) -> MicroBatch:
        seen.append(batch)
        assert batch.advantages is not None
        return dataclasses.replace(batch, advantages=torch.zeros_like(batch.advantages))

    groups, settings = groups_of(4, 4), settings_of(minibatches=2)
    learner = Learner(tiny_lm(), OPTIM, 10)
    updated = update_policy(learner, None, groups, settings, annotate=flat)
    assert len(seen) == len(updated.batches)
    assert all(batch.old_logprobs is not None for batch in seen)
    assert [m.grad_norm for m in updated.metrics] == [0.0, 0.0]
    plain = update_policy(Learner(tiny_lm(), OPTIM, 10), None, groups, settings)
    assert min(m.grad_norm for m in plain.metrics) > 1e-3


def test_another_loss_may_stand_in_for_the_policys():
    groups, settings = groups_of(2, 3), settings_of()
    updated = update_policy(Learner(tiny_lm(), OPTIM, 10), None, groups, settings, loss_of=sft_loss)
    own = torch.cat(updated.metrics[0].logprobs)
    weights = torch.cat([b.weights for b in updated.batches])
    assert updated.metrics[0].loss == pytest.approx(-(own * weights).sum().item(), rel=1e-5)
