from tools.interval_coverage import Case, coverage


def test_one_seed_covers_where_seeds_are_alike_and_fails_where_they_spread():
    # of 100 experiments 95 cover, sd 2.2
    alike = coverage(Case(images=359, top1=0.92, spread=0.0, seeds=1), 100)
    assert min(alike.row, alike.difference) > 0.88
    assert alike.called_different < 0.05
    apart = coverage(Case(images=359, top1=0.92, spread=0.05, seeds=1), 100)
    assert max(apart.row, apart.difference) < 0.7
    assert apart.called_different > 0.2


def test_three_seeds_cover_more_often_than_one():
    one, three = (coverage(Case(200, 0.8, 0.05, seeds), 60) for seeds in (1, 3))
    assert three.row > one.row
    assert three.difference > one.difference
