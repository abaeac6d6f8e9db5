"""What is said of replies that are all alike."""

from shoestring.evals.item import Item
from shoestring.evals.shape import summarise_shape


def item(number: int, gold: str, said: str) -> Item:
    right = "right" if gold == said else "wrong"
    return Item(f"p{number}", 0, "q", gold, said, right, "", 5, 3, "stop", said=said)


def test_a_model_that_always_says_one_is_told_from_one_that_counts():
    golds = ["1"] * 13 + ["2"] * 7
    constant = summarise_shape([item(i, gold, "1") for i, gold in enumerate(golds)])
    assert (constant.same, constant.always_same) == (1.0, 0.65)
    assert "100.0 % give the same answer" in constant.line()
    assert "always giving the commonest answer would get 65.0 %" in constant.line()
    counts = summarise_shape([item(i, gold, gold) for i, gold in enumerate(golds)])
    assert (counts.same, counts.always_same) == (0.65, 0.65)


def test_nothing_is_said_where_answers_differ():
    shape = summarise_shape([item(i, str(i), str(i % 15)) for i in range(30)])
    assert (shape.same, shape.always_same) == (None, None)
    assert "same" not in shape.line()
    assert "commonest" not in shape.line()


def test_what_says_nothing_is_no_answer_and_few_replies_are_no_habit():
    silent = summarise_shape([item(i, str(i), "") for i in range(30)])
    assert silent.same is None
    few = summarise_shape([item(i, "1", "1") for i in range(19)])
    assert (few.same, few.always_same) == (None, None)
