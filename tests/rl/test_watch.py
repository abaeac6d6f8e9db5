from shoestring.rl.watch import HackWatch, change


def feed(watch: HackWatch, preference, solve_rate):
    pairs = zip(preference, solve_rate, strict=True)
    return [
        watch.saw(step, {"preference/mean": p, "solve_rate": s}) for step, (p, s) in enumerate(pairs, start=1)
    ]


def test_change_by_hand():
    # means 2 and 5; variances 1 and 1 over 3 each: sqrt(2 / 3)
    assert change([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == (3.0, (2 / 3) ** 0.5)


def test_preference_up_while_solved_falls_is_told_once():
    told = feed(HackWatch(6), [0.0, 0.1, 0.0, 1.0, 1.1, 1.0, 1.1], [0.5, 0.6, 0.5, 0.2, 0.1, 0.2, 0.1])
    assert told[:5] == [None] * 5  # too few steps
    assert told[5] is not None
    assert "\n" not in told[5]
    assert "step 6: preference-hacking" in told[5]
    assert "rose by 1.000" in told[5]
    assert "fell by 0.367" in told[5]
    assert told[6] is None  # a new window has begun


def test_no_warning_without_both():
    up, down = [0.0, 0.1, 0.0, 1.0, 1.1, 1.0], [0.5, 0.6, 0.5, 0.2, 0.1, 0.2]
    assert not any(feed(HackWatch(6), up, up))
    assert not any(feed(HackWatch(6), down, down))
    assert not any(feed(HackWatch(6), up, [0.5, 0.5, 0.5, 0.49, 0.49, 0.49]))  # a fall of no matter
    noise = [0.1, 0.9, 0.2, 0.1, 0.8, 0.1]  # falls by less than its own noise
    assert not any(feed(HackWatch(6), up, noise))


def test_steps_without_a_figure_are_passed_over():
    watch = HackWatch(4)
    assert watch.saw(1, {"solve_rate": 0.5}) is None
    assert watch.saw(2, {"preference/mean": 0.5}) is None
    assert watch.state_dict() == {"preference": [], "solve_rate": []}


def test_its_state_goes_on():
    up, down = [0.0, 0.1, 0.0, 1.0, 1.1, 1.0], [0.5, 0.6, 0.5, 0.2, 0.1, 0.2]
    first, second = HackWatch(6), HackWatch(6)
    feed(first, up[:4], down[:4])
    second.load_state_dict(first.state_dict())
    assert feed(second, up[4:], down[4:])[-1] is not None
