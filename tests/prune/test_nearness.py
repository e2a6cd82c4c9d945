from laconic.prune.nearness import comparable, missed


def test_a_saving_within_two_percent_is_not_worth_a_word():
    assert missed(0.5, 0.519, of="macs", by="sizes") == []
    assert missed(0.5, 0.53, of="macs", by="sizes that are allowed") == [
        "asked to save 50.0% of the macs, saved 53.0%: no sizes that are allowed come nearer."
    ]


def test_only_results_about_as_near_as_the_nearest_are_compared():
    assert comparable("abc", [0.4, 0.45, 0.3], asked=0.5) == ["b"]
    assert comparable("abc", [0.51, 0.475, 0.6], asked=0.5) == ["a", "b"]
