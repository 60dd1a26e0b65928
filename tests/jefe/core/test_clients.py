"""The memory that all clients share: which clients wait, and which are dropped."""

from jefe.core.clients import Budget, Client


def test_what_is_held_is_counted_for_each_and_for_all():
    budget = Budget(1000)
    one, other = Client("one", budget=budget), Client("other", budget=budget)
    one.hold(10)
    one.hold_input(5)
    one.hold_input(7)
    other.hold_output(100)
    assert (one.held, other.held, budget.held) == (17, 100, 117)
    one.hold(-10)
    one.close()
    other.close()
    assert (one.held, other.held, budget.held, len(budget)) == (0, 0, 0, 0)


def test_when_little_is_left_those_wait_that_hold_more_than_their_share():
    budget = Budget(1000)
    greedy, modest = Client("greedy", budget=budget), Client("modest", budget=budget)
    woken = []
    greedy.on_room = lambda: woken.append("greedy")
    greedy.hold(700)
    assert not greedy.must_wait
    modest.hold(100)
    assert greedy.must_wait
    assert not modest.must_wait
    assert woken == []
    greedy.hold(-500)
    assert woken == ["greedy"]
    assert not greedy.must_wait


def test_when_nothing_is_left_the_one_that_holds_most_of_what_it_could_do_without_has_to_go():
    budget = Budget(1000)
    gone = []

    def client(label, **kwargs):
        def relieve():
            gone.append(label)
            made.close()

        made = Client(label, budget=budget, relieve=relieve, **kwargs)
        return made

    busy, reader, silent = client("busy"), client("reader"), client("silent")
    busy.hold(500)  # is being worked on: that nobody can do without
    reader.hold_output(200)
    silent.hold_output(250)
    assert gone == []
    reader.hold_output(251)
    assert gone == ["reader"]
    busy.hold(300)
    assert gone == ["reader"]  # the silent one holds less than its share
    silent.hold_output(400)
    assert gone == ["reader", "silent"]
    busy.hold(1000)
    assert gone == ["reader", "silent"]
    assert budget.held == 1800


def test_those_that_have_shown_no_token_go_first():
    budget = Budget(1000)
    gone = []
    proven = Client("proven", budget=budget, relieve=lambda: gone.append("proven"))
    stranger = Client("stranger", budget=budget, is_proven=False, relieve=lambda: gone.append("stranger"))
    stranger.hold_input(400)
    proven.hold_output(700)
    assert gone == ["stranger"]


def test_whoever_cannot_be_dropped_is_not():
    budget = Budget(10)
    Client("pipe", budget=budget).hold_output(100)
    assert budget.held == 100


def test_nobody_has_to_go_for_answers_that_are_only_expected():
    budget = Budget(1000)
    gone = []
    one = Client("one", budget=budget, relieve=lambda: gone.append("one"))
    other = Client("other", budget=budget)
    one.hold_output(500)
    other.expect(800)
    one.hold_output(600)
    assert gone == []
    assert one.must_wait
    other.expect(-800)
    other.hold(401)
    assert gone == ["one"]
    assert (budget.held, budget.guessed) == (1001, 0)


def test_who_does_not_answer_what_it_is_asked_goes_and_not_its_neighbour():
    budget = Budget(1000)
    gone = []
    silent = Client("silent", budget=budget, relieve=lambda: gone.append("silent"))
    reader = Client("reader", budget=budget, relieve=lambda: gone.append("reader"))
    reader.hold_output(400)
    silent.hold(550)
    silent.stall(550)
    silent.hold(100)
    assert gone == ["silent"]


def test_who_comes_below_its_share_by_itself_goes_on_whatever_others_hold():
    budget = Budget(1000)
    one, other = Client("one", budget=budget), Client("other", budget=budget)
    woken = []
    one.on_room = lambda: woken.append("one")
    one.hold(500)
    other.hold(900)
    assert one.must_wait
    one.hold(-100)
    assert woken == []
    one.hold(-100)
    assert woken == ["one"]


def test_a_client_that_has_gone_holds_no_output():
    budget = Budget(1000)
    one = Client("one", budget=budget)
    one.close()
    one.hold_output(100)
    assert budget.held == 0
