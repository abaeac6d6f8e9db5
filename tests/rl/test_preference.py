import dataclasses
import math

import pytest
import torch

from shoestring.errors import BadInput, ShoestringError
from shoestring.models.reward_head import RewardNetwork
from shoestring.rl.preference import (
    LIMIT,
    PreferenceModel,
    Scale,
    judged_message,
    last_tokens,
    pack_groups,
    pairwise_loss,
    pointwise_loss,
)
from shoestring.rl.preference_learner import RewardLearner, make_preference_batches
from shoestring.rl.preference_rows import PreferenceStream, held_out
from shoestring.tasks.chat import Chat, ChatLevel
from shoestring.text.message import Message, Rendered, Reply
from shoestring.text.packing import Family, pack
from shoestring.text.preferences import OWN, read_preferences
from shoestring.train.optim import OptimSettings
from tiny import tiny_lm

THOUGHT = Reply("First I think.", "Rain.")


def question(text: str = "Why?") -> list[Message]:
    return [Message(role="user", content=text)]


def model(kind="helpful") -> PreferenceModel:
    return PreferenceModel.start(tiny_lm(), kind, seed=1)


def test_pairwise_loss_by_hand():
    chosen, rejected = torch.tensor([1.0, 0.0, 3.0]), torch.tensor([1.0, 2.0, 0.0])
    wanted = [math.log(2), math.log(1 + math.e**2), math.log(1 + math.e**-3)]
    assert pairwise_loss(chosen, rejected).tolist() == pytest.approx(wanted)


def test_pointwise_loss_by_hand():
    scores, safe = torch.tensor([0.0, 2.0, 2.0]), torch.tensor([True, True, False])
    wanted = [math.log(2), math.log(1 + math.e**-2), math.log(1 + math.e**2)]
    assert pointwise_loss(scores, safe).tolist() == pytest.approx(wanted)


def test_helpfulness_reads_the_answer_and_safety_the_thinking_too():
    assert judged_message(THOUGHT, "helpful") == {"role": "assistant", "content": "Rain."}
    assert judged_message(THOUGHT, "safety") == {
        "role": "assistant",
        "content": "Rain.",
        "reasoning_content": "First I think.",
    }
    bare = dataclasses.replace(THOUGHT, reasoning=None)
    for kind, same in (("helpful", True), ("safety", False)):
        own = model(kind)
        scores = own.score([("a", question(), THOUGHT), ("b", question(), bare)])
        assert (scores["a"] == pytest.approx(scores["b"], abs=1e-5)) is same


def test_packed_scores_are_those_of_rows_alone():
    own = model()
    rows = [own.render(question(), Reply(None, said)) for said in ("Rain.", "", "Rain and wind and snow.")]
    rows += [own.render(question("Where is it?"), Reply(None, "Here."))]
    alone = [own.raw_scores([[row]])[0][0] for row in rows]
    for tokens in (1, 60, 10_000):
        found = own.raw_scores([rows[:3], rows[3:]], tokens)
        assert [*found[0], *found[1]] == pytest.approx(alone, abs=1e-4)
    assert len(set(alone)) == 4
    ((packed, places),) = pack_groups([rows[:3], rows[3:]], 10_000)
    assert len(packed.ids) < sum(len(row.ids) for row in rows)  # the prompt stands once
    assert sorted(places) == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert own.raw_scores([]) == []


def test_last_tokens_by_hand():
    def row(count):
        return Rendered([1] * count, [False] * count)

    # 4 shared, 2 and 1 of its own; 3 by itself
    packed = pack([Family([9] * 4, [row(2), row(1)]), Family([], [row(3)])])
    assert last_tokens(packed).tolist() == [5, 6, 9]


def test_scores_are_by_id_standardised_and_clamped():
    own = model()
    said = {"x": Reply(None, "Rain."), "y": Reply(None, "No rain at all."), "z": Reply(None, "?")}
    rows = [(name, question(), reply) for name, reply in said.items()]
    raw = own.score(rows)
    assert own.score(rows[::-1]) == pytest.approx(raw, abs=1e-5)
    own.scale = Scale(mean=raw["x"], std=0.5)
    scaled = own.score(rows)
    assert scaled["x"] == pytest.approx(0.0, abs=1e-4)
    assert scaled["y"] == pytest.approx((raw["y"] - raw["x"]) / 0.5, abs=1e-4)
    own.scale = Scale(mean=-1e6, std=1.0)
    assert set(own.score(rows).values()) == {LIMIT}
    with pytest.raises(AssertionError, match="ids must differ"):
        own.score([rows[0], rows[0]])


def test_a_cut_or_too_long_reply_has_the_lowest_score():
    own = model()
    long = Reply(None, "x" * 3000)
    scores = own.score([("cut", question(), Reply(None, "Rain", cut=True)), ("long", question(), long)])
    assert scores == {"cut": -LIMIT, "long": -LIMIT}
    assert own.too_long == 1


def test_what_is_no_number_stops_the_run():
    own = model()
    with torch.no_grad():
        own.network.score.fill_(float("nan"))
    with pytest.raises(ShoestringError, match=r"gave nan.*lower learning rate"):
        own.score([("a", question(), THOUGHT)])


def test_save_and_load_keep_scale_kind_and_scores(tmp_path):
    own = model("safety")
    own.scale = Scale(0.25, 2.0)
    own.save(tmp_path)
    again = PreferenceModel.load(tmp_path, dtype="float32")
    assert (again.kind, again.scale) == ("safety", own.scale)
    rows = [("a", question(), THOUGHT)]
    assert again.score(rows) == pytest.approx(own.score(rows), abs=1e-5)
    assert [stage.name for stage in again.lineage.stages] == ["smollm2-135m"]
    assert not any(p.requires_grad for p in again.network.parameters())
    with pytest.raises(BadInput, match="dtype"):
        PreferenceModel.load(tmp_path, dtype="float8")


def batches(own: PreferenceModel, tokens: int, labels=None):
    examples = [
        [own.render(question(f"Why {n}?"), Reply(None, said * (n + 1))) for said in ("Rain. ", "No. ")]
        for n in range(4)
    ]
    if labels:
        examples = [example[:1] for example in examples]
    return make_preference_batches(examples, labels, tokens)


@pytest.mark.parametrize("labels", [None, [True, False, True, False]])
def test_the_split_into_micro_batches_changes_nothing(labels):
    found = []
    for tokens in (1, 10_000):
        own = model()
        learner = RewardLearner(own.network, OptimSettings(learning_rate=1e-3, warmup_steps=0), 4)
        made = batches(own, tokens, labels)
        assert len(made) == (4 if tokens == 1 else 1)
        metrics = learner.update(made)
        found.append((metrics.loss, metrics.grad_norm))
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_the_loss_is_the_mean_over_the_steps_pairs():
    own = model()
    made = batches(own, 10_000)
    metrics = RewardLearner(own.network, OptimSettings(warmup_steps=0), 4).update(made)
    pairs = metrics.scores[0].view(-1, 2)
    wanted = pairwise_loss(pairs[:, 0], pairs[:, 1]).mean().item()
    assert metrics.loss == pytest.approx(wanted, rel=1e-5)


def test_what_was_chosen_comes_to_score_higher_in_bf16_too():
    own = model()
    own.network.body.to(torch.bfloat16)
    learner = RewardLearner(own.network, OptimSettings(learning_rate=3e-3, warmup_steps=0), 30)
    losses = [learner.update(batches(own, 10_000)).loss for _ in range(30)]
    assert losses[-1] < 0.2 < losses[0]
    assert own.network.score.dtype == torch.float32


def test_three_steps_without_a_gradient_stop_the_run():
    own = model()
    with torch.no_grad():
        own.network.score.fill_(float("inf"))
    learner = RewardLearner(own.network, OptimSettings(), 9)
    assert learner.update(batches(own, 10_000)).skipped
    learner.update(batches(own, 10_000))
    with pytest.raises(ShoestringError, match="3 steps in a row"):
        learner.update(batches(own, 10_000))


def test_every_network_keeps_its_score_finite():
    assert torch.isfinite(RewardNetwork.on(tiny_lm().network, 5).score).all()


def test_a_prompt_is_held_out_for_the_reward_model_as_for_the_policy():
    rows = {row.messages[0]["content"]: row for row in read_preferences(OWN, "helpful", 2.0).rows}
    import random

    seen = set()
    for i in range(2000):
        problem = Chat().draw(ChatLevel(), random.Random(i))
        if problem.prompt in rows:
            assert held_out(rows[problem.prompt]) == problem.held_out
            seen.add(problem.held_out)
    assert seen == {True, False}


def test_the_stream_gives_every_row_once_an_epoch_and_goes_on():
    stream = PreferenceStream(5, seed=0)
    first = stream.take(15)
    assert [sorted(first[i : i + 5]) for i in (0, 5, 10)] == [list(range(5))] * 3
    assert first[:5] != first[5:10]
    again = PreferenceStream(5, seed=0)
    again.load_state_dict({"index": 7})
    assert again.take(8) == first[7:]
